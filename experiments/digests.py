"""Digests of what experiments hand from one unit of work to the next."""

from workbench.artifacts.artifact import Artifact


def content_digest(artifact: Artifact) -> str:
    """Of what an artifact holds, whatever code it was fitted with."""
    return artifact.digest
