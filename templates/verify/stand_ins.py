"""Stand-ins for parts of transformers that need values, which fake tensors do not have, or that a real run replaces."""

from __future__ import annotations

from typing import Any

import four_bit
import torch
from torch import nn
from torch.nn import functional
from transformers import masking_utils
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

PADDED_SDPA = "sdpa_padded_values"


def fake_friendly() -> None:
    """Let every batch take the path of an unpadded, unpacked one, and give MLA a fused attention kernel.

    transformers cannot read fake position ids, supposes packed rows, and would build a square mask and repeat keys.
    """
    masking_utils.find_packed_sequence_indices = lambda position_ids: None
    ALL_ATTENTION_FUNCTIONS.register(PADDED_SDPA, _padded_sdpa)
    ALL_MASK_ATTENTION_FUNCTIONS.register(PADDED_SDPA, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def _padded_sdpa(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **named: Any) -> Any:
    """MLA's values are narrower than its keys: padded they reach a fused kernel, as with flash attention."""
    width = value.shape[-1]
    if width != query.shape[-1]:
        value = functional.pad(value, [0, query.shape[-1] - width])
    output, weights = sdpa_attention_forward(module, query, key, value, attention_mask, **named)
    return output[..., :width], weights


def longcat_experts() -> None:
    """LongCat's experts with static shapes, and as the checkpoint has them: real experts only, as stacks.

    transformers 5.23 also allocates gate and up matrices for the identity experts.
    """
    from transformers.models.longcat_flash import modeling_longcat_flash as longcat

    longcat.LongcatFlashExperts.__init__ = _longcat_init
    longcat.LongcatFlashExperts.forward = _longcat_forward


def _longcat_init(self: Any, config: Any) -> None:
    from transformers.activations import ACT2FN

    nn.Module.__init__(self)
    self.experts, self.zero_experts = config.n_routed_experts, config.zero_expert_num or 0
    self.act_fn = ACT2FN[config.hidden_act]
    hidden, width = config.hidden_size, config.expert_ffn_hidden_size
    self.gate_up_proj = nn.Parameter(torch.empty(self.experts, 2 * width, hidden))
    self.down_proj = nn.Parameter(torch.empty(self.experts, hidden, width))


def _longcat_forward(self: Any, hidden: Any, index: Any, weights: Any) -> Any:
    picks = four_bit.balanced(index, self.experts, self.zero_experts)
    ends = torch.linspace(picks // self.experts, picks, self.experts).to(torch.int32)

    def mlp(rows: Any) -> Any:
        gate, up = functional.grouped_mm(rows, self.gate_up_proj.transpose(-2, -1), offs=ends).chunk(2, dim=-1)
        return functional.grouped_mm(self.act_fn(gate) * up, self.down_proj.transpose(-2, -1), offs=ends)

    return four_bit.mix_experts(hidden, index, weights, picks, mlp)
