"""The fast path on processors: the modules of a loaded model get forward functions of ours, one small module a piece.

    linear     LoRA over frozen weights, wide or in 4 bit; layers with the same input are one product
    pages      memory of weights that were read in place, given back once they are elsewhere
    norm       RMSNorm
    gated      the product in the middle of SwiGLU and GeGLU
    attention  documents attend to themselves, by batched products
    rotary     rotary positions
    threshold  from which length of a document PyTorch's own attention is faster here
    loss       cross entropy over the tokens that are trained on, its gradient made in the forward pass
    pieces_of  which piece takes which module of a model; what none takes stays as it is
    path       the whole of it, as the training loop uses it
    memory     whether there is room to keep what the backward pass needs

There is no autocast: weights and activations are bf16 (or float32 throughout), adapters are float32 and are rounded
where they are used, and their gradients come back in float32.
"""
