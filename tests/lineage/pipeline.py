"""A branchy pipeline: two runs that prepare, train three mapped models with a retry, choose, build, deploy, and a third that removes."""

from __future__ import annotations

from stackgraft.lineage import LineageRecord

from .conftest import record, ref

IMAGES = {number: f"registry/team/app@sha256:{number:064x}" for number in (1, 2)}
TRAINER = f"trainer@sha256:{9:064x}"


def run(number: int) -> list[LineageRecord]:
    """Return the records of a run that builds image ``number``, in no order."""
    at, name = 100.0 * number, f"r{number}"
    data, features = ref("raw", 1), ref("features", number)
    models = [ref(f"model-{index}", number) for index in range(3)]
    train = [
        record(
            "train",
            at=at + 3,
            run=name,
            map_index=index,
            try_number=2 if index == 1 else 1,
            inputs=(features,),
            outputs=(models[index],),
            image=TRAINER,
        )
        for index in range(3)
    ]
    failed = record("train", at=at + 2, run=name, map_index=1, inputs=(features,), image=TRAINER, outcome="failed", reason="out of memory")
    return [
        *train,
        failed,
        record("prepare", at=at + 1, run=name, inputs=(data,), outputs=(features,)),
        record("choose", at=at + 5, run=name, inputs=tuple(models), outputs=(ref("best", number), ref("report", number))),
        record("skip", at=at + 5.5, run=name, outcome="skipped"),
        record("build", at=at + 6, run=name, built=IMAGES[number]),
        record(
            "deploy", at=at + 8, run=name, inputs=(ref("best", number),), image=IMAGES[number], service="app", url=f"http://app/{number}"
        ),
    ]


def builder() -> LineageRecord:
    """Return the record that built the trainer's image, in another pipeline."""
    return record("build", pipeline="images", at=-50, run="r1", built=f"elsewhere/{TRAINER}")
