"""Every error that the operator raises on purpose.

    OperatorError              a sentence for a person
    ├── SettingsError          the operator's own settings are wrong; it cannot start
    ├── SpecError              a Model asks for what this installation does not have; becomes SpecValid=False
    ├── RenderError            chart and values make no manifests; a fault of the installation, not of a user
    └── ClusterError           the API server did not do what it was asked for; says so in its own words
        ├── Conflict           somebody else wrote first, or it exists already: look again
        ├── NotAllowed         a right is missing; the sentence says which
        ├── Refused            it will not have this object, however often it is asked
        └── Away               no answer, or none that says anything: try again later

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


class ClusterError(OperatorError):
    """The API server did not do what it was asked for."""


class Conflict(ClusterError):  # noqa: N818 - named for what happened, as the tree above
    """Somebody else wrote first, or the object exists already."""


class NotAllowed(ClusterError):  # noqa: N818
    """The operator lacks a right."""


class Refused(ClusterError):  # noqa: N818
    """The API server will not have this object."""


class Away(ClusterError):  # noqa: N818
    """The API server does not answer, or is too busy."""
