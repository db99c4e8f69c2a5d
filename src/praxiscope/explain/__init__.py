"""Pictures that explain networks: what they see and what they have learned.

Each file draws one picture with a function `explain_…`, which returns an `Explanation`;
`praxiscope.explain.explanation.save_explanation` writes it to a file.
"""

from __future__ import annotations

from praxiscope._lazy import submodules

__getattr__ = submodules(__name__)
