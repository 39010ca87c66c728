"""What a peer's script may import: standard library only, for it runs in the peer's environment."""
