"""What the tables and figures of the notebooks claim, composed from their numbers: one sentence or two for each."""

from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from itemkit.paper.report import listed, spaced

TITLES = {
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
    "balanced_accuracy": "balanced accuracy",
    "real_accuracy": "accuracy on real pictures",
    "generated_accuracy": "accuracy on generated pictures",
    "balanced_accuracy_at_validation_threshold": "balanced accuracy at the threshold of validation rows",
    "true_positive_rate_at_5_percent_false_positives": "true positive rate at 5 % false positives",
    "expected_calibration_error": "expected calibration error",
}
DECISIONS = [  # the columns of 04_decisions
    "average_precision",
    "roc_auc",
    "balanced_accuracy",
    "balanced_accuracy_at_validation_threshold",
    "real_accuracy",
    "generated_accuracy",
    "true_positive_rate_at_5_percent_false_positives",
]
SEES = {  # each arm in a few words, where it first stands
    "image": "the picture alone",
    "linear": "the picture alone, by a linear probe",
    "text": "the caption alone",
    "concat": "picture and caption side by side",
    "global": "the fit of picture and caption",
    "local": "the fit of objects and their words",
    "item": "the method",
    "shuffled": "the same with the words of another picture",
    "metadata": "sizes, lengths and counts, and no vector",
    "texture": "bytes, high frequencies and variance, and no meaning",
}
TRACKS = {"aligned": "files made alike (the track aligned)", "raw": "files as distributed (the track raw)"}
METHOD = (
    "ITEM asks whether the words fit the picture: a frozen captioner describes it, a frozen object detector finds the objects that the "
    "caption names, frozen CLIP measures how far picture and caption (global) and each object and its word (local) lie apart, and "
    "a small network, trained on real pictures and those of one generator, decides."
)
LIMITS = "A number holds for pictures like those of its card. No number says how a detector fares on generators of next year."
OF_TOYWORLD = (
    "Toyworld is drawn, not photographed, and its networks are tiny: its numbers say that the method and this code do what "
    "they claim, and nothing of photographs."
)


def limits(card: str) -> str:
    """What the numbers of a run do not say, of the card that it names."""
    return f"{OF_TOYWORLD} {LIMITS}" if Path(card).name == "toyworld" else LIMITS


def pictures(files: pd.DataFrame, counts: pd.DataFrame) -> str:
    """Of 00_pictures: how far the sources show the same contents, and how the classes are balanced."""
    shows = pd.crosstab(files["content_id"], files["generator"]).gt(0)
    splits = [split for split in ("train", "validation", "test") if split in counts]
    balance = listed([f"{files['label'][files['split'] == split].mean():.0%} of {split}" for split in splits], ", ")
    return (
        f"{shows.all(axis=1).mean():.0%} of the content ids are shown by every source; generated pictures are {balance}. "
        f"Unreadable pictures: {counts['unreadable'].sum()}; copies of another one of their source and split, which count as "
        f"often as they stand there: {counts['copies'].sum()}."
    )


def files(files: pd.DataFrame) -> str:
    """Of 00_files: whether the format alone tells real from generated."""
    if files["track"].eq("aligned").all():
        return "These files were made alike by itemkit; what the formats of the files as distributed (the track raw) tell was not looked at."
    readable = files[files["status"] == "ok"]
    shares = [readable["format"][readable["label"] == label].value_counts(normalize=True) for label in (0, 1)]
    real, generated = (" and ".join(sorted(own.index)) for own in shares)
    right = (
        0.5 + shares[0].sub(shares[1], fill_value=0).abs().sum() / 4
    )  # of the best guess, both classes weighing the same
    tells = "tells nothing" if right < 0.505 else f"tells {right:.0%} of them right, and its traces stay in the pixels"
    return f"Real pictures are {real} files, generated ones {generated}: the format alone {tells}."


def leaks(leaks: pd.DataFrame, folds: int, suspect: float, leak: float) -> str:
    """Of 00_leaks: of how many generators files alone tell the pictures from real ones."""
    told = []
    for track, rows in leaks.dropna(subset="roc_auc").groupby("track", sort=False):
        found = rows[rows["verdict"] == "leak"]
        by = f" (by {', '.join(found['column'].unique())})" if len(found) else ""
        told.append(f"{len(found)} of {len(rows)} generators on the track {track}{by}")
    claim = f"Files alone give away {' and '.join(told) or 'nothing that could be measured'}."
    texture = leaks["roc_auc"][leaks["verdict"] == "texture"]
    if len(texture):
        claim += (
            f" With verdict texture, files are alike in all but their bytes; these reach {texture.min():.2f} to "
            f"{texture.max():.2f}, by what the picture shows and not by how its file was made."
        )
    return f"{claim} ROC AUC without a look at pixels, mean of at most {folds} folds; suspect from {suspect}, leak from {leak}."


def copies(copies: pd.DataFrame, distance: int, contradictions: pd.DataFrame) -> str:
    """Of 00_duplicates: whether a picture stands in two splits, or under both labels."""
    total = copies.drop(columns=["split", "other"]).sum()
    copied = f"{total.exact} pairs are one picture in two splits" if total.exact else "No picture stands in two splits"
    return (
        f"{copied}: of {total.pairs:,} pairs {total.exact} have equal pixels, and {total.near} look alike (perceptual "
        f"hashes at most {distance} of 64 bits apart), {total.both_real} of these with both pictures real and "
        f"{total.one_content} with one content id.{_both_labels(contradictions)}"
    )


def _both_labels(contradictions: pd.DataFrame) -> str:
    if contradictions.empty:
        return ""
    count, first = contradictions["pixel_hash"].nunique(), contradictions.iloc[0]
    return f" {count} pictures stand under both labels, the first as {first.image_id} of {first.generator}: one of them is wrong."


def words(counted: pd.DataFrame) -> str:
    """Of 01_words: how many objects captions name, of real and of generated pictures."""
    real, generated = (counted["objects"][counted["label"] == label].mean() for label in (0, 1))
    return (
        f"A caption names {real:.2f} objects of a real picture, and {generated:.2f} of a generated one. The last two "
        "columns are shares of the pictures."
    )


def objects(share: pd.DataFrame) -> str:
    """Of 01_objects: the word that some generator makes the captioner say most differently."""
    word, source = share.sub(share["real"], axis=0).abs().stack().idxmax()
    return (
        f"Captions of a hundred that name a word, for the words furthest apart from real pictures. Furthest is {word}: "
        f"{share.loc[word, source]:.0%} of {spaced(source)}, {share.loc[word, 'real']:.0%} of real."
    )


def fit(track: str) -> str:
    """Of 02_fit."""
    return (
        "Objects named by a caption, the share of them that was found, the mean score of their boxes, and the mean "
        "misalignment, 1 - cosine, of whole pictures and of objects. Nouns of a setting, such as snow, count as named but "
        f"have no box. {track} files."
    )


def truth(correct: pd.DataFrame) -> str:
    """Of 02_truth: how often captioner and detector are right, on real pictures and on generated ones."""
    known = correct.dropna(subset="nouns_named")
    others = known.drop(index="real", errors="ignore")
    if known.empty:
        told = "The true captions of this card name no noun that is looked for, so that nothing can be compared"
    elif "real" not in known.index or others.empty:
        told = f"The card names true captions of {listed(list(known.index))} alone, so that nothing can be compared"
    else:
        worst = others["nouns_named"].idxmin()
        told = (
            f"The captioner names {known.nouns_named['real']:.0%} of the nouns that are true of real pictures and "
            f"{others.nouns_named.mean():.0%} of generated ones ({spaced(worst)}: {others.nouns_named[worst]:.0%})"
        )
        found = known.things_found["real"], others.things_found.mean()
        if not any(map(pd.isna, found)):
            told += f"; of the things asked for, the detector finds {found[0]:.0%} and {found[1]:.0%}"
    return (
        f"{told}. nouns named: share of the true nouns in the caption; named nouns true: share of the caption's nouns that "
        "are true; boxes right: overlap of half or more, real pictures only."
    )


def sign(signs: pd.DataFrame, track: str) -> str:
    """Of 02_sign: for how many generators pictures fit their words worse or better than real ones, and whose fault it is."""
    rows = signs[signs["track"] == track].dropna(subset="value")
    usual = rows[rows["words"] == "of the captioner"]
    levels = [
        f"{level}, generated pictures fit their words worse than real ones (as ITEM says) for {sum(own.low > 0.5)} of "
        f"{len(own)} generators and better (as SARE says) for {sum(own.high < 0.5)}"
        for level, own in usual.groupby("level")
    ]
    words = rows.pivot(index=["level", "generator"], columns="words", values="value")
    words = words.reindex(columns=["of the captioner", "true"]).dropna().groupby("level")  # like with like
    cause = "The card does not name true captions of both, so wrong words cannot be told from wrong pictures."
    if {"global", "local"} <= set(words.groups):
        changes = [
            f"from {own['of the captioner'].mean():.3f} to {own['true'].mean():.3f} ({level}, {len(own)} generators)"
            for level, own in words
        ]
        cause = (
            f"With true words instead of the captioner's, the mean ROC AUC changes {' and '.join(changes)}: where it "
            "stays, the picture is wrong, and not the words."
        )
    return (
        f"Raw cosine, no training, {track} files: {'; '.join(levels)}. The others' 95 % intervals include 0.5. {cause}"
    )


def densities(track: str) -> str:
    """Of 02_misalignment."""
    return (
        f"Misalignment, 1 - cosine, of whole pictures (upper row) and of objects (lower row), {track} files: real pictures "
        "are the grey area, those of a generator the line."
    )


def validation(means: pd.DataFrame, track: str, seeds: int) -> str:
    """Of 03_validation: what each arm learns of the generators that it is trained on."""
    best = means[means["track"] == track].groupby("arm", sort=False)["roc_auc"].mean()
    told = ", ".join(f"{value:.2f} of {arm}" for arm, value in best.items())
    return f"Generators trained on, validation rows: mean ROC AUC {told} ({track}). Means over {seeds} seeds."


def curves(track: str, seeds: int) -> str:
    """Of 03_curves."""
    return (
        f"Loss on the validation rows of the generator trained on, a line for each of {seeds} seeds ({track}); the head "
        "kept is that of the lowest point."
    )


def matrix(cells: pd.DataFrame, title: str, track: str, seeds: int) -> str:
    """Of 04_matrix: the mean of each arm on the generator trained on and on others."""
    means = (
        cells.assign(seen=cells["train_on"] == cells["generator"]).groupby(["arm", "seen"], sort=False)["mean"].mean()
    )
    means = means.unstack().reindex(columns=[True, False])
    means.columns = ["on the diagonal", "off it"]
    told = "; ".join(
        f"{arm} {', '.join(f'{value:.2f} {place}' for place, value in row.dropna().items())}"
        for arm, row in means.dropna(how="all").iterrows()
    )
    return f"100 x {title} on {track} files, mean over {seeds} seeds. Means: {told}."


def unseen(title: str, track: str, seeds: int) -> str:
    """Of the table 04_unseen."""
    return (
        f"{title} on generators not trained on, {track} files: for each tested generator the mean over the heads trained "
        "on another; then mean, standard deviation and minimum over all such pairs. Each pair is a mean over "
        f"{seeds} seeds."
    )


def worst(table: pd.DataFrame, track: str) -> str:
    """Of the figure 04_unseen: the worst pair of each arm."""
    told = ", ".join(f"{arm} {value:.2f}" for arm, value in table["minimum"].dropna().items())
    return f"Each point is a generator that the head never saw ({track} files). Worst of all: {told}."


def tracks(wide: pd.DataFrame, title: str, tracks: list[str]) -> str:
    """Of 04_tracks: which arm owes most to the files as distributed."""
    claim = (
        f"{title} on generators not trained on, for each track: mean, standard deviation and minimum over pairs; the "
        f"headline is {tracks[0]}."
    )
    if "difference" not in wide or wide["difference"].isna().all():
        return claim
    most = wide["difference"].idxmax()
    gains = "gains most from" if wide["difference"][most] > 0 else "loses least by"
    return f"{claim} {most} {gains} {tracks[1]} files: {wide.difference[most]:+.3f}."


def verdict(table: pd.DataFrame, against: pd.DataFrame, title: str, track: str) -> str:
    """Of 04_item_against: whether item beats its controls on generators that no head was trained on.

    Args:
        table: a row for each arm, with mean and minimum.
        against: a row for each control on one track: control, item_minus_control, low, high, better_share, pairs.
    """
    known = against.dropna(subset="item_minus_control").set_index("control")
    if pd.isna(table["mean"]["item"]):
        return "Without a second generator that has pictures to test on, nothing can be said of unseen generators."
    verbs = {
        name: "beats" if low > 0 else "loses to" if high < 0 else "cannot be told from"
        for name, low, high in known[["low", "high"]].itertuples(name=None)
    }
    sees = {name: SEES.get(name, "a detector of others") for name in known.index}
    details = [
        f"it {verbs[name]} {name}, {sees[name]} ({table['mean'][name]:.3f}, at worst {table.minimum[name]:.3f}; difference "
        f"{row.item_minus_control:+.3f}, 95 % interval {row.low:+.3f} to {row.high:+.3f}; better in {row.better_share:.0%} "
        f"of {row.pairs:g} pairs)"
        for name, row in known.iterrows()
        if name in ("image", "shuffled")
    ]
    others = [f"{verbs[name]} {name} ({sees[name]})" for name in known.index if name not in ("image", "shuffled")]
    reaches = (
        f"on generators not trained on, item, {SEES['item']}, reaches a mean {title} of {table['mean']['item']:.3f}, at worst "
        f"{table.minimum['item']:.3f}, on {TRACKS.get(track, track)}"
    )
    lacking = f"whether the words add to {SEES['image']} cannot be said, since the arm image has no number"
    sentences = [reaches, "; ".join(details), others and f"it {listed(others)}", "image" not in known.index and lacking]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in filter(None, sentences))


def decisions(table: pd.DataFrame, track: str) -> str:
    """Of 04_decisions: which arm a threshold from validation rows changes most."""
    gain = table["balanced_accuracy_at_validation_threshold"] - table["balanced_accuracy"]
    most = "" if gain.isna().all() else gain.abs().idxmax()
    told = (
        f"A threshold from validation rows changes balanced accuracy most for {most}: {gain[most]:+.3f}. "
        if most
        else ""
    )
    return (
        f"Means over unseen generators, {track} files; accuracies at 0.5. {told}The interval is a bootstrap over contents, "
        "the deviation is over seeds."
    )


def calibration(table: pd.DataFrame, track: str) -> str:
    """Of 04_calibration: what a temperature mends on the generator trained on, and on others."""
    mean = table.mean()
    told = [
        f"{mean[f'{seen}_before']:.3f} to {mean[f'{seen}_after']:.3f} on {where}"
        for seen, where in (("seen", "the generator trained on"), ("unseen", "others"))
        if not pd.isna(mean[f"{seen}_before"])
    ]
    return (
        f"Expected calibration error (15 bins) before and after temperature scaling, test rows, {track} files. Mean over "
        f"arms: {', '.join(told) or 'too few pictures to say'}."
    )


def selective(table: pd.DataFrame, track: str) -> str:
    """Of 04_selective: what it buys, on generators that a head does not know, that a detector may say "undecided"."""
    whole = table.loc["all"]
    begins = f"Item, {track} files, generators that a head was not trained on, thresholds for 5 % false positives."
    if whole.isna().any():
        return f"{begins} Too few pictures to say what silence buys."
    told = [
        f"of {label} pictures {whole[f'{label}_coverage']:.0%} are answered, {whole[f'{label}_error_answered']:.1%} of them "
        f"wrongly, instead of {whole[f'{label}_error']:.1%} of all"
        for label in ("real", "generated")
    ]
    return f"{begins} A picture without objects, or one unlike the training pictures, is called undecided: {'; '.join(told)}."


def detector(answers: pd.DataFrame, real: int) -> str:
    """Of 04_detector: the false positive rate that was asked for and the one that was measured."""
    if not real:
        return "The detector of this run, on test pictures; it has no real ones to measure false positives on."
    share, others = answers["above_threshold"]["real"], answers.drop(index="real").dropna()
    told = "Its threshold is to be passed by 5 % of real pictures; there are too few to say how many do."
    if not pd.isna(share):
        low, high = binomtest(round(share * real), real).proportion_ci(method="wilson")
        told = (
            f"Its threshold is to be passed by 5 % of real pictures, and {share:.1%} of {real} pass it (95 % interval {low:.1%} "
            f"to {high:.1%})."
        )
    if len(others):
        found, silent = others["called_generated"], others["undecided"]
        told += (
            f" It calls {found.min():.0%} to {found.max():.0%} of a generator's pictures generated, and {silent.min():.0%} to "
            f"{silent.max():.0%} undecided."
        )
    return f"One head of item, trained on all generators that have pictures to train on, on test pictures. {told}"


def reliability(table: pd.DataFrame) -> str:
    """Of 04_reliability."""
    row = table.reindex(["item"]).iloc[0]
    told = [
        f"{row[f'{seen}_before']:.3f} before and {row[f'{seen}_after']:.3f} after scaling on {where}"
        for seen, where in (("seen", "the generator trained on"), ("unseen", "the others"))
        if not pd.isna(row[f"{seen}_before"])
    ]
    return (
        "Reliability of item, real pictures against each generator in turn. Expected calibration error "
        f"{', '.join(told) or 'not known: too few pictures'}: above the line a head says real too often, below it generated."
    )


def ablations(choices: pd.DataFrame) -> str:
    """Of 05_ablations: the best and the worst change to the default."""
    changed = choices[choices["difference"].abs() > 1e-9]
    if choices["mean"].isna().all():
        return "Too few validation pictures of generators not trained on to compare choices."
    if changed.empty:
        return "No change to the default changes the ROC AUC on validation rows of generators not trained on."
    usual = (choices["mean"] - choices["difference"]).mean()
    told = [
        f"{spaced(row.choice)} {spaced(row.value)} ({row.difference:+.3f})"
        for row in (changed.loc[changed["difference"].idxmax()], changed.loc[changed["difference"].idxmin()])
    ]
    return (
        f"Best and worst change to the default's {usual:.3f}: {' and '.join(told)}. ROC AUC on validation rows of "
        "generators not trained on, mean over pairs and seeds; minimum over pairs."
    )


def anatomy(carries: pd.DataFrame) -> str:
    """Of 05_anatomy: what is left of the lead of item without words."""
    mean = carries.set_index("value")["mean"]
    if mean.isna().all():
        return "Too few validation pictures of generators not trained on to say what carries the lead."
    lead, rest = mean["local"] - 0.5, max(mean["local, no words"] - 0.5, 0)
    kept = f"keeps {rest / lead:.0%} of what it has above chance" if lead > 0.05 else "has no clear lead to keep"
    return (
        f"Without words, local {kept} ({mean['local, no words']:.3f} of {mean['local']:.3f}); the fit of a crop to its noun alone, a single number, reaches "
        f"{mean['local cosine alone']:.3f}, the number of objects found {mean['count alone']:.3f}, the picture alone "
        f"{mean['image']:.3f}, item with the words of other pictures {mean['words of others']:.3f}. ROC AUC on validation "
        "rows of generators not trained on."
    )


def robustness(table: pd.DataFrame, contents: int, track: str) -> str:
    """Of 06_robustness: how far the arms fall, and whether the captioner is what breaks.

    Args:
        table: a row for each (perturbation, strength), ("none", 0) first; a column for each arm, and for the last arm
            another one, with captions frozen.
        contents: how many were perturbed.
    """
    if table.iloc[:, -1].isna().all():
        return f"Too few pictures to say what is left: {contents} contents, {track} files."
    *arms, frozen = table.columns
    first, last = arms[0], arms[-1]
    worst, back = table[last].idxmin(), (table[frozen] - table[last]).drop(index=("none", 0))
    fall = table[last].iloc[0] - table[last].iloc[1:].mean()
    culprit = (
        "nothing breaks"
        if fall < 0.01
        else "the captioner is what breaks"
        if back.mean() > 0.5 * fall
        else "it is the detector and CLIP that break, more than the captioner"
    )
    return (
        f"{last} falls from {table[last].iloc[0]:.2f} to {table[last].min():.2f} at worst ({_step(worst)}), {first} from "
        f"{table[first].iloc[0]:.2f} to {table[first].min():.2f}. Captions of the unperturbed pictures bring back "
        f"{back.max():.3f} at most, {back.mean():.3f} on average: {culprit}. ROC AUC on generators not trained on, mean over "
        f"heads; {contents} contents, {track} files."
    )


def networks(kept: pd.DataFrame) -> str:
    """Of 06_networks: where each frozen network keeps least of the unperturbed picture."""
    steps = kept[kept["perturbation"] != "none"].set_index(["perturbation", "strength"])
    told = [
        f"{name} lowest at {_step(steps[name].idxmin())} ({steps[name].min():.2f})"
        for name in ("captioner", "detector", "clip")
    ]
    return (
        f"What each network keeps: {'; '.join(told)}. captioner: share of captions that name the same objects; detector: "
        "share of the objects of the unperturbed picture that are found again with frozen captions; clip: cosine with its "
        "vector."
    )


def chosen(rows: pd.DataFrame, sources: int) -> str:
    """Of 07_chosen: the scores of one content, which may not be shown by all of the sources."""
    real, others = rows["score"][rows["label"] == 0].mean(), rows["score"][rows["label"] == 1]
    if pd.isna(real) or others.empty:
        return (
            f"A picture of {spaced(rows['generator'].iloc[0])}: no content of this data set is shown by real and generated "
            "pictures. The number is the score of being generated; boxes and nouns have the colour of their misalignment."
        )
    return (
        f"One content by {'every source' if len(rows) == sources else f'{len(rows)} of {sources} sources'}, with the score of being generated: {real:.2f} for the real one, {others.min():.2f} to "
        f"{others.max():.2f} for the others. Boxes and nouns have the colour of their misalignment; a grey noun was not found."
    )


def extremes(rows: pd.DataFrame) -> str:
    """Of 07_extremes."""
    worst, best = (rows["local_misalignment"][rows["label"] == label].mean() for label in (0, 1))
    return (
        f"First the real pictures whose objects misfit their words most (mean misalignment {worst:.2f}), then the generated "
        f"ones whose objects fit best (mean {best:.2f}). The number is the score of being generated."
    )


def mistakes(explained: pd.DataFrame) -> str:
    """Of 07_mistakes: how many pictures of each class are called the other one."""
    known = explained.dropna(subset="called")
    real, generated = (known["called"][known["label"] == label] for label in (0, 1))
    lost = len(explained) - len(known)
    silent = f" {lost} pictures have no score: every head was trained on their generator." if lost else ""
    return (
        f"At 0.5, {real.eq('generated').mean():.0%} of the real pictures are called generated and "
        f"{generated.eq('real').mean():.0%} of the generated ones real, by the mean score of all heads that never saw the "
        f"generator; the surest of each kind. The number is that score.{silent}"
    )


def projection(share: float) -> str:
    """Of 07_projection."""
    return (
        f"Features of item, test pictures. Left: two principal components, {share:.0%} of the variance. Right: the first "
        "two linear discriminants of the sources, fitted on these pictures: a picture of what there is to learn, and no "
        "measure of it."
    )


def _step(step: tuple[str, float]) -> str:
    return f"{step[0].replace('_', ', then ')} {step[1]:g}"
