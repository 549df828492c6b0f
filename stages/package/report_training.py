"""The report on the training: what was declared, what was compared, what was chosen, and why.

Rules:

- RPT-1  The rule and the margin stand before the figures; the choice is explained by them.
- RPT-2  Where pre-training brings no more than the margin, a sentence says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from stages.package import charts_training
from stages.package.document import SVG, Figure, Section, Table, show, table
from stages.package.measured import Facts, Json, costs
from stages.package.report_transfer import transfer
from stages.package.results import Results

_FIGURES = {"dice_": "Dice, ", "auc_": "AUC, "}


def variants(results: Results, facts: Facts) -> Section:
    """Variants of transfer learning, compared on the validation split."""
    train = facts.parameters.get("train", {})
    texts, tables = transfer(results)
    return Section(
        "variants",
        "Variants of transfer learning",
        (
            *_declared(train),
            chosen_text(results, train),
            *_benefit(facts),
            *_memory(facts),
            *texts,
        ),
        tables=(
            _finalists(results, train),
            *_screening(results),
            *tables,
            *_costs(facts),
        ),
        figures=tuple(_figures(results)),
    )


def _declared(train: Json) -> Iterator[str]:
    """What stood in the parameters before the first result."""
    if not train:
        yield (
            "The variant is chosen by the rule in the parameters, on the validation split, before "
            "the test split is looked at."
        )
        return
    options = train["comparison"]
    order = ", ".join(way["name"] for way in train["variants"])
    low = " at the lower end of the interval of the difference"
    yield (
        f"Declared before training: of the variants whose score lies not more than "
        f"{train['margin']:g} below the best one's{low if options['rule'] == 'interval' else ''}, "
        f"the simplest is chosen, in the order {order}; on the validation split, before the test "
        "split is looked at. The score is the mean Dice over structures, the mean AUC over "
        "classes, or the mean of both."
    )
    seeds = options["seeds"]
    screened = ", ".join(str(epochs) for epochs in options["screening_epochs"])
    yield (
        f"All variants have the same data, order and augmentation; {train['epochs']} epochs, "
        f"{seeds} seed{'' if seeds == 1 else 's'} for each finalist, "
        + (
            f"after screening (epochs: {screened}), from which "
            f"{100 * options['screening_keep']:g} % go on. "
            if screened
            else "no screening. "
        )
        + f"Intervals ({100 * options['confidence']:g} %) are by bootstrap over validation "
        f"subjects and seeds, {options['resamples']:,} samples; differences are paired, and p is "
        "corrected by Holm's method. The kept epoch was chosen on the same split, so that scores "
        "are a little high, for all variants alike."
    )


def chosen_text(results: Results, train: Json) -> str:
    """Which variant was chosen, and why, in one sentence (RPT-1)."""
    rows = results.comparison
    best = max(rows, key=lambda row: row["score"])
    chosen = next(row for row in rows if row["selected"])
    name, margin = chosen["variant"], train.get("margin")
    limit = "the margin" if margin is None else f"the margin of {margin:g}"
    if len(rows) == 1:
        return f"Chosen: {name}, the only finalist."
    if chosen is best:
        before = "" if rows[0] is chosen else f", and no simpler one lies within {limit} of it"
        return f"Chosen: {name}; its score of {show(best['score'])} is the best{before}."
    worst = train.get("comparison", {}).get("rule") == "interval"
    below = -chosen["difference_low" if worst else "difference"]
    return (
        f"Chosen: {name}, the simplest within {limit}: its score lies {show(below)} below that of "
        f"{best['variant']}, the best{', at the lower end of the interval' if worst else ''}."
    )


def _benefit(facts: Facts) -> Iterator[str]:
    """What the gate found of pre-training (RPT-2)."""
    for check in facts.checks:
        if (check["stage"], check["rule"]) == ("train", "TRN-7"):
            helps = check["verdict"] == "passed"
            figure = check["figure"].removesuffix(": no benefit")
            yield (
                f"Pre-training brings {'a' if helps else 'no'} benefit: {figure}; declared as a "
                f"benefit was {check['limit']}."
            )


def _memory(facts: Facts) -> Iterator[str]:
    peak = facts.measured.get("train", {}).get("peak_memory_mib")
    if peak is not None:
        yield f"The training process held at most {peak:,} MiB of memory."


def _finalists(results: Results, train: Json) -> Table:
    share = train.get("comparison", {}).get("confidence")
    interval = "CI" if share is None else f"{100 * share:g} % CI"
    best = max(results.comparison, key=lambda row: row["score"])["variant"]
    aside = {name: r["aside"]["score"] for name, r in results.trained.items() if "aside" in r}
    rows = [
        {
            **row,
            "score_ci": _interval(row, "score"),
            "difference": None if row["variant"] == best else row["difference"],
            "difference_ci": None if row["variant"] == best else _interval(row, "difference"),
            "p": None if row["variant"] == best else row["p"],
            "kept": f"{row['selected_epoch']} of {row['epochs']}",
            "aside": aside.get(row["variant"]),
        }
        for row in results.comparison
    ]
    figures = {
        name: head + name.removeprefix(prefix)
        for name in results.comparison[0]
        for prefix, head in _FIGURES.items()
        if name.startswith(prefix)
    }
    heads = {
        "variant": "Variant",
        "score": "Score",
        "score_ci": interval,
        "difference": "Less the best",
        "difference_ci": f"{interval} of the difference",
        "p": "p, corrected",
        **figures,
        **({"aside": "Score, other vendors"} if aside else {}),
        "trained_parameters": "Parameters trained",
        "parameters": "of all",
        "kept": "Epoch kept",
    }
    return table("Comparison on the validation split", rows, heads, mark="selected")


def _interval(row: Json, name: str) -> str:
    return f"{row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f}"


def _screening(results: Results) -> Iterator[Table]:
    """Short trainings, and which of them went on."""
    trials = [row for row in results.trials if row["part"] == "screening"]
    if not trials:
        return
    finalists = {row["variant"] for row in results.trials if row["part"] == "final"}
    rounds = list(dict.fromkeys(map(_round, trials)))
    tried = [{row["variant"] for row in trials if _round(row) == number} for number in rounds]
    following = [*tried[1:], finalists]
    rows = [
        {
            "round": number,
            "variant": row["variant"],
            "epochs": row["epochs"],
            "score": row["score"],
            "on": row["variant"] in after,
        }
        for number, after in zip(rounds, following, strict=True)
        for row in trials
        if _round(row) == number
    ]
    heads = {
        "variant": "Variant",
        "round": "Round",
        "epochs": "Epochs",
        "score": "Score",
        "on": "Went on",
    }
    yield table("Screening", rows, heads)


def _round(trial: Json) -> str:
    """Of a trial named `screening/<round>/<variant>`."""
    return str(trial["trial"].split("/")[1])


def _costs(facts: Facts) -> Iterator[Table]:
    rows = costs(facts)
    if rows:
        heads = {"part": "Part", "seconds": "Seconds", "cpu_seconds": "Processor seconds"}
        yield table("Cost of the comparison, as measured", rows, heads)


def _figures(results: Results) -> Iterator[Figure]:
    yield Figure(
        SVG,
        charts_training.over_epochs(results.histories, results.pretraining),
        "Training loss and validation score of every finalist over its epochs; scores: "
        + ", ".join(f"{row['variant']} {show(row['score'])}" for row in results.comparison)
        + ".",
        "Training curves of the first seed: loss of training, score on the validation split.",
    )
    if len({row["labels"] for row in results.curves}) > 1:
        points = "; ".join(
            f"{row['variant']}, {row['labels']} subjects: {show(row['score'])}"
            for row in sorted(results.curves, key=lambda row: (row["variant"], row["labels"]))
        )
        yield Figure(
            SVG,
            charts_training.over_labels(results.curves),
            f"Validation score by number of labeled subjects. {points}.",
            "Learning curves: score on the validation split by the number of labeled subjects in "
            "training; mean over seeds, from the lowest to the highest.",
        )
