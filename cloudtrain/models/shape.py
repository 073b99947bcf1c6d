"""The shape of a model: the numbers in its config that the arithmetic of memory and time needs, and its matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.models.families import COUNTED, FAMILIES, Family

if TYPE_CHECKING:
    from cloudtrain.models.counted import Counted


class Linear(NamedTuple):
    """One weight matrix: what it is for, and how many numbers go in and come out."""

    role: str  # q k v o qkv | q_down q_up kv_down kv_up (MLA) | gate up down gate_up
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        """Parameters of the matrix, bias apart."""
        return self.inputs * self.outputs


class Shape(NamedTuple):
    """Sizes of one decoder-only model. Zero means "has none". `head_dim` of MLA models is the query/key width.

    `attention_bias` names the projections with a bias by their letters. `normed_heads`: queries and keys are normalised
    where the family does that. `shared_intermediate`: the width of a shared expert that is no multiple of the others.
    `counted`: the parameters of an architecture that is counted as a whole; the sizes then stand for a plain decoder.

    `dense_layers` are the layers without experts in a mixture of experts. `sliding_layers` of the layers attend only
    to the last `sliding_window` tokens. `ngram_tables` and `ngram_projections` are parameters of looked-up n-gram
    embeddings and of the matrices behind them (LongCat-Flash-Lite).
    """

    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    attention_bias: str = "none"
    mlp_bias: bool = False
    normed_heads: bool = True
    experts: int = 0
    top_k: int = 0
    zero_experts: int = 0
    shared_experts: int = 0
    shared_intermediate: int = 0
    expert_intermediate: int = 0
    dense_layers: int = 0
    q_rank: int = 0
    kv_rank: int = 0
    qk_nope: int = 0
    qk_rope: int = 0
    v_head: int = 0
    sliding_window: int = 0
    sliding_layers: int = 0
    ngram_tables: int = 0
    ngram_projections: int = 0
    counted: Counted | None = None

    @property
    def traits(self) -> Family:
        """What every model of the family has in common."""
        return COUNTED if self.counted else FAMILIES[self.family]

    @property
    def qk_norm(self) -> str:
        """How queries and keys are normalised: none, head or full."""
        return self.traits.qk_norm if self.normed_heads else "none"

    @property
    def attention_blocks(self) -> int:
        """Attention blocks in the whole model (two per layer in LongCat)."""
        return self.layers * self.traits.blocks_per_layer

    @property
    def moe_layers(self) -> int:
        """Layers that hold experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def query_width(self) -> int:
        """Numbers in one token's queries."""
        return self.heads * self.head_dim

    @property
    def key_width(self) -> int:
        """Numbers in one token's keys; values are as wide outside MLA."""
        return self.kv_heads * self.head_dim

    @property
    def value_head(self) -> int:
        """Width of one value head: narrower than a key head in MLA."""
        return self.v_head or self.head_dim

    @property
    def shared_width(self) -> int:
        """Width of the MLP that all tokens of a mixture-of-experts layer pass."""
        return self.shared_intermediate or self.shared_experts * self.expert_intermediate

    @property
    def mean_experts(self) -> float:
        """Real experts one token uses on average; identity experts cost nothing and share the picks evenly."""
        return self.top_k * self.experts / (self.experts + self.zero_experts) if self.experts else 0.0

    @property
    def expert_weights(self) -> int:
        """Parameters of one expert: gate, up and down, and their biases where the family has them."""
        biases = 2 * self.expert_intermediate + self.hidden if self.traits.expert_bias else 0
        return 3 * self.hidden * self.expert_intermediate + biases

    def with_layers(self, layers: int) -> Shape:
        """The same model at another depth. Leading dense layers and the share of sliding layers are kept in reason."""
        sliding = round(self.sliding_layers * layers / self.layers)
        dense = min(self.dense_layers, max(layers - 1, 0)) if self.experts else 0
        counted = self.counted and self.counted.at_depth(layers / self.layers)
        return self._replace(layers=layers, sliding_layers=sliding, dense_layers=dense, counted=counted)


def attention_linears(shape: Shape) -> tuple[Linear, ...]:
    """The matrices of one attention block."""
    hidden, query, key = shape.hidden, shape.query_width, shape.key_width
    if shape.traits.mla:
        value = shape.heads * shape.v_head
        down = (Linear("q_down", hidden, shape.q_rank), Linear("q_up", shape.q_rank, query))
        return (
            *(down if shape.q_rank else (Linear("q", hidden, query),)),
            Linear("kv_down", hidden, shape.kv_rank + shape.qk_rope),
            Linear("kv_up", shape.kv_rank, shape.heads * (shape.qk_nope + shape.v_head)),
            Linear("o", value, hidden),
        )
    if shape.traits.fused:
        return (Linear("qkv", hidden, query + 2 * key), Linear("o", query, hidden))
    return (
        Linear("q", hidden, query),
        Linear("k", hidden, key),
        Linear("v", hidden, key),
        Linear("o", query, hidden),
    )


def mlp_linears(shape: Shape, width: int) -> tuple[Linear, ...]:
    """The matrices of one gated MLP of `width`; none when the width is zero."""
    if not width:
        return ()
    if shape.traits.fused or shape.traits.fused_mlp:
        return (Linear("gate_up", shape.hidden, 2 * width), Linear("down", width, shape.hidden))
    return (
        Linear("gate", shape.hidden, width),
        Linear("up", shape.hidden, width),
        Linear("down", width, shape.hidden),
    )


def dense_mlps(shape: Shape) -> tuple[tuple[int, int], ...]:
    """`(width, how many in the model)` of every MLP that all tokens pass: dense ones and shared experts."""
    if not shape.experts:
        return ((shape.intermediate, shape.layers),)
    if shape.traits.blocks_per_layer == 2:  # LongCat: one dense MLP for each attention block, experts on a shortcut
        return ((shape.intermediate, shape.attention_blocks),)
    return ((shape.intermediate, shape.dense_layers), (shape.shared_width, shape.moe_layers))
