"""Tasks that failed, as errors of `to_zarr`."""

from xr_anysat.errors import ScaleError, StoreError, WeightsError
from xr_anysat.findings import Finding
from xr_anysat.graph.retries import Failed

__all__ = ["error_of"]


def error_of(failed: Failed, where: str, finding: Finding) -> BaseException:
    """Error to raise for a failed task.

    Parameters
    ----------
    failed
        The task.
    where
        What it was part of. Errors of the cube's scale and of the weights concern the whole map:
        they are raised as they are, with a note that says this.
    finding
        What a `StoreError` says of any other error, whose traceback becomes its note.
    """
    error = failed.error
    if isinstance(error, ScaleError | WeightsError):
        error.add_note(f"in {where}")
        return error
    raised = StoreError(finding)
    raised.add_note(failed.text)
    return raised
