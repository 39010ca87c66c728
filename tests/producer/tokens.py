"""Tokens of each role, for producers that ask for one."""

ROLES = ("enqueue", "read", "operate", "admin")
SECRETS = {role: f"the-secret-of-{role}-1234" for role in ROLES}
API_TOKENS = ",".join(f"{role}-1:{role}:{secret}" for role, secret in SECRETS.items())


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {SECRETS[role]}"}
