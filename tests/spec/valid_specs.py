"""Any valid spec, for tests that hold for all of them."""

from __future__ import annotations

from hypothesis import strategies as st

from cloudtrain.spec.schema import Spec

TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20).filter(str.strip)
NAMES = TEXTS.filter(lambda text: not set(text) & set("~/"))  # names of models; paths are made absolute on reading


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Any valid spec."""
    choose = {name: field.annotation for name, field in Spec.model_fields.items()}
    word = {
        name: draw(st.sampled_from(choose[name].__args__))
        for name in ("method", "train_on", "schedule", "optimizer", "report")
    }
    optional = {
        "revision": TEXTS,
        "sequence_length": st.integers(16, 2**24),
        "packing": st.booleans(),
        "micro_batch": st.integers(1, 100),
        "lr": st.floats(1e-12, 10),
        "warmup": st.floats(0, 0.99),
        "weight_decay": st.floats(0, 1),
        "seed": st.integers(0, 2**32 - 1),
        "train_layers": st.integers(1, 100),
        "lora": st.fixed_dictionaries(
            {},
            optional={
                "rank": st.integers(1, 4096),
                "alpha": st.floats(1e-3, 1e6),
                "dropout": st.floats(0, 0.99),
                "targets": st.sampled_from(["qv", "attention", ("q_proj",), ("a.b", "true", "null")]),
            },
        ),
        "checkpoint": st.fixed_dictionaries(
            {"every": st.sampled_from(["90s", "1h30m", "1.5m"]), "keep": st.integers(1, 9)}
        ),
        "budget": st.fixed_dictionaries(
            {},
            optional={"max_cost": st.decimals(0, 10**7, allow_nan=False, places=4), "max_hours": st.floats(0.01, 8760)},
        ),
    }
    body = draw(st.fixed_dictionaries({"model": NAMES}, optional=optional))
    data = {
        "path": "/" + draw(st.sampled_from(["a b", "null", "x: y", "#", "ü"])),
        "eval_fraction": draw(st.floats(0, 0.99)),
    }
    length = draw(
        st.sampled_from([{"epochs": draw(st.floats(0.01, 100))}, {"max_steps": draw(st.integers(1, 10**6))}, {}])
    )
    return Spec.model_validate(body | word | {"data": data} | length)
