"""How vLLM runs a model: its settings, over how many devices, with which LoRA adapters."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from fairlead_serve import shapes
from fairlead_serve.engine_arguments import argument_problems
from fairlead_serve.errors import Problem
from fairlead_serve.model.environment import EnvFromSource, EnvVar
from fairlead_serve.model.fields import MAP_BY_NAME, AdapterUri, EngineArgs, ServedName, Several
from fairlead_serve.model.part import Part, twice


class EngineSpec(Part):
    """How vLLM runs the model."""

    device: Literal["cuda", "cpu"] = Field(
        default="cuda",
        description=("What the engine computes on. The default is cuda, since a cpu serves real models slowly."),
    )
    image: str = Field(
        default="",
        pattern=shapes.IMAGE.pattern,
        max_length=512,
        description="Container image of the engine. Empty: the operator's default for the device.",
    )
    max_model_len: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description=(
            "Longest prompt plus answer, in tokens. Absent: what the model was trained for; set "
            "it lower when the KV cache does not fit."
        ),
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = Field(
        default="auto", description="Number format of the weights; auto takes the model's own."
    )
    quantization: str = Field(
        default="",
        pattern=shapes.WORD.pattern,
        max_length=64,
        description=("How the weights are quantized, such as awq, gptq or fp8. Empty: as the model's files say."),
    )
    gpu_memory_utilization: str = Field(
        default="0.90",
        pattern=shapes.FRACTION.pattern,
        max_length=8,
        description=(
            "Share of each GPU's memory that weights and KV cache may take, above 0 and up to 1. "
            "Text, because decimals do not survive every JSON round trip; 0.90 leaves room for "
            "CUDA graphs. No effect on cpu."
        ),
    )
    max_num_seqs: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description=("Requests computed in one batch at the same time. Absent: vLLM chooses by the device's memory."),
    )
    args: EngineArgs = Field(
        default_factory=dict,
        description=(
            "Any other vLLM engine or front-end argument by vLLM's name (snake_case). Unknown "
            "names, wrong types and what other fields set are refused before anything starts."
        ),
    )
    env: Several[EnvVar] = Field(
        default=(),
        max_length=128,
        description="Environment variables of the engine; none by default.",
        json_schema_extra=MAP_BY_NAME,
    )
    env_from: Several[EnvFromSource] = Field(
        default=(),
        max_length=32,
        description="ConfigMaps and Secrets all of whose keys become variables; none by default.",
    )

    def broken_rules(self) -> Iterator[Problem]:
        for problem in argument_problems(self.args):
            yield Problem(f"args.{problem.path}", problem.message)
        for name in twice(variable.name for variable in self.env):
            yield Problem("env", f"{name} is given twice; keep one")
        if self.device == "cpu" and self.gpu_memory_utilization != "0.90":
            yield Problem(
                "gpuMemoryUtilization",
                "is of GPUs; with device: cpu size the KV cache by args.kv_cache_memory_bytes",
            )


class Parallelism(Part):
    """Over how many devices one engine is split."""

    tensor: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Devices each layer is split over; best kept within one machine. 1: not split.",
    )
    pipeline: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Groups of layers, each on its own `tensor` devices; more than 1 needs cluster: KubeRay.",
    )


class Adapter(Part):
    """One LoRA adapter, a model of its own for clients."""

    name: ServedName = Field(description="The name clients put into `model` to use this adapter.")
    uri: AdapterUri = Field(
        description=("Where the adapter's weights are: hf://, pvc://claim/path, file:///path or s3://bucket/prefix.")
    )


class Lora(Part):
    """LoRA adapters on top of the model."""

    max_rank: Literal[1, 8, 16, 32, 64, 128, 256, 320, 512] = Field(
        default=32, description="Highest rank of any adapter; room for it is reserved. 32 fits most."
    )
    max_adapters: int = Field(
        default=4,
        ge=1,
        le=256,
        description="Adapters used in one batch, each with room in device memory; more adapters take turns.",
    )
    adapters: Several[Adapter] = Field(
        default=(),
        max_length=256,
        description="The adapters to serve; none by default.",
        json_schema_extra=MAP_BY_NAME,
    )

    def broken_rules(self) -> Iterator[Problem]:
        for name in twice(adapter.name for adapter in self.adapters):
            yield Problem("adapters", f"two adapters are called {name}; names must differ")
