"""The error tree, and the form in which clients see it."""

import pytest

from fairlead_serve import errors
from fairlead_serve.errors import ApiError, ConfigurationError, FairleadError, ModelFileError, Problem


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "invalid_request_error"),
        (405, "invalid_request_error"),
        (408, "invalid_request_error"),
        (413, "invalid_request_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_exceeded"),
        (500, "server_error"),
        (502, "server_error"),
        (503, "server_error"),
        (504, "server_error"),
    ],
)
def test_a_status_has_openai_s_type(status: int, kind: str) -> None:
    assert ApiError(status, "m").envelope() == {"error": {"message": "m", "type": kind, "param": None, "code": None}}


def test_an_error_s_own_type_counts_more_than_its_status() -> None:
    error = ApiError(429, "m", type="insufficient_quota", code="c", param="p", headers={"retry-after": "1"})
    assert error.envelope()["error"] == {"message": "m", "type": "insufficient_quota", "param": "p", "code": "c"}
    assert error.headers == {"retry-after": "1"}
    assert str(error) == "m"


def test_a_file_s_problems_are_all_told_each_on_a_line() -> None:
    error = ModelFileError("a.yaml", [Problem("spec.x", "is wrong"), Problem("", "is empty")])
    assert str(error) == "a.yaml: spec.x: is wrong\na.yaml: is empty"
    assert error.problems == (Problem("spec.x", "is wrong"), Problem("", "is empty"))


def test_what_was_given_wrong_exits_with_two_and_everything_else_with_one() -> None:
    tree = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FairleadError)]
    assert len(tree) > 8
    for one in tree:
        assert one.exit_code == (2 if issubclass(one, ConfigurationError) else 1)
