"""The Model resource, `fairlead.dev/v1alpha1`: the one definition of what a user writes.

The CRD, its reference page, local mode and the engine pod all come from these types. They say what can be
known from the file alone: shapes, bounds, and combinations that cannot work; what only a cluster can answer
(is there such a Secret?) is the operator's to say. In files names are camelCase, in Python snake_case; values
are immutable, lists are tuples. Optional text is empty rather than absent, so that the CRD needs no nullable
text.

No Ray, no vLLM, and no I/O but in `files`.
"""

from fairlead_serve.model.engine import Adapter, EngineSpec
from fairlead_serve.model.environment import EnvFromSource, EnvVar, EnvVarSource
from fairlead_serve.model.fields import LabelKey, Several
from fairlead_serve.model.files import load, load_all, parse, parse_stored
from fairlead_serve.model.part import Part
from fairlead_serve.model.pods import Cache, PodTemplate, Resources
from fairlead_serve.model.resource import API_VERSION, KIND, Metadata, Model
from fairlead_serve.model.rollout import RolloutStrategy
from fairlead_serve.model.scaling import Scaling
from fairlead_serve.model.source import ModelSource, SecretKeyRef, Upstream
from fairlead_serve.model.spec import MAX_GPUS_OF_A_NODE, WITH_UPSTREAM, ModelSpec
from fairlead_serve.model.status import AdapterStatus, Condition, ModelStatus

__all__ = [
    "API_VERSION",
    "KIND",
    "MAX_GPUS_OF_A_NODE",
    "WITH_UPSTREAM",
    "Adapter",
    "AdapterStatus",
    "Cache",
    "Condition",
    "EngineSpec",
    "EnvFromSource",
    "EnvVar",
    "EnvVarSource",
    "LabelKey",
    "Metadata",
    "Model",
    "ModelSource",
    "ModelSpec",
    "ModelStatus",
    "Part",
    "PodTemplate",
    "Resources",
    "RolloutStrategy",
    "Scaling",
    "SecretKeyRef",
    "Several",
    "Upstream",
    "load",
    "load_all",
    "parse",
    "parse_stored",
]
