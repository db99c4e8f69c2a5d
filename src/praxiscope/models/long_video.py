"""The models of Ng et al., "Beyond Short Snippets" (CVPR 2015), in one place: poolings and the LSTM over minutes."""

from __future__ import annotations

from praxiscope.models.lstm import lstm
from praxiscope.models.pooled import (
    conv_pool,
    googlenet_conv,
    late_pool,
    local_pool,
    pool,
    slow_pool,
    time_conv,
)

__all__ = ["conv_pool", "googlenet_conv", "late_pool", "local_pool", "lstm", "pool", "slow_pool", "time_conv"]
