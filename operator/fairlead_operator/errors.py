"""Every error that the operator raises on purpose.

    OperatorError              a sentence for a person
    ├── SettingsError          the operator's own settings are wrong; it cannot start
    ├── SpecError              a Model asks for what this installation does not have; becomes SpecValid=False
    └── RenderError            chart and values make no manifests; a fault of the installation, not of a user

No I/O here, and nothing imported from the rest of the package.
"""


class OperatorError(Exception):
    """Base of all. `str(error)` is a sentence that says what is wrong and what to change."""

    exit_code = 1


class SettingsError(OperatorError):
    """A file or a variable with the operator's settings is wrong."""

    exit_code = 2


class SpecError(OperatorError):
    """What a Model's specification cannot have here.

    `reason` is a constant that programs may compare, the reason of the condition; `path` is the place in the Model in
    the form `spec.resourceProfile`.
    """

    def __init__(self, reason: str, path: str, message: str) -> None:
        self.reason = reason
        self.path = path
        super().__init__(f"{path}: {message}")


class RenderError(OperatorError):
    """Helm refuses the chart or its values, in its own words or in those of the chart."""
