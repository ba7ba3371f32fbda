"""Who asks, as far as that is known, and under which name the request is followed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Who:
    """The asker of a request.

    name         of the bearer token; "" where none is asked for
    fingerprint  token: and six digits of its digest; None where there is none
    correlation  follows the request through logs, the audit log and the answer
    client       the address that it comes from
    """

    name: str
    fingerprint: str | None
    correlation: str
    client: str

    def for_audit(self) -> dict[str, str | None]:
        """Return the fields of the audit log that say who it was."""
        return {"correlation_id": self.correlation, "token": self.fingerprint, "client": self.client}
