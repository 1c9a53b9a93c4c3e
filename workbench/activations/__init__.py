"""Hidden states, read once.

`Activations` in memory; `workbench.activations.store` keeps them on disk and streams them; and
`workbench.activations.moments` sums them up in one pass.
"""

from workbench.activations.arrays import Activations

__all__ = ["Activations"]
