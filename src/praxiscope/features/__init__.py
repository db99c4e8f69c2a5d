"""Feature stores: what a per-frame network computes from the videos of a data set, written once."""

from praxiscope._lazy import submodules as _submodules

__getattr__ = _submodules(__name__)
