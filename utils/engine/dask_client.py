"""Work on other machines: the connection to a Dask scheduler. Dask is optional, and imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

INSTALL = "pip install -r requirements-cluster.txt"
SECONDS = 20


def connect(address: str) -> Client:
    """A client of the scheduler at `address`; use it in a `with` statement.

    Raises:
        ImportError: Dask is not installed.
        ConnectionError: no scheduler answers there within `SECONDS`.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ImportError(f"--scheduler needs Dask, which is not installed: run `{INSTALL}`.") from None
    try:
        return Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConnectionError(f"No Dask scheduler answers at {address} ({type(error).__name__}).") from None


def has_no_workers(address: str) -> str:
    """The sentence for a scheduler without workers."""
    return f"The scheduler at {address} has no workers; this starts one: python -m distributed.cli.dask_worker {address} --nthreads 1"
