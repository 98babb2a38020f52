"""The page of results of the striping benchmark."""

import numpy as np


def report(scores, frames, options, seeds):
    """Return the table."""
    lines = [
        "# Striping",
        "",
        f"{options.size}, seeds {', '.join(map(str, seeds))}; frames "
        + ", ".join(f"{name} {band} {pattern} ({n} groups)" for name, band, pattern, n in frames)
        + (
            ". Without the methods of jwst (`--ours`)."
            if options.ours
            else ". The methods of jwst, which take most of the time, on the first seed only."
        )
        + " Written by `python benchmarks/striping.py`.",
        "",
        "| method | noise of blocks of 16 pixels, "
        + ", ".join(name for name, *_ in frames)
        + " | of 64 pixels | galaxy absorbed (%), mean and largest | sky level (1e-4) |"
        " CPU time (s) | memory (MB) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, score in scores.items():
        cells = []
        for ratios in (score.blocks, score.wide_blocks):
            per_frame = np.reshape(ratios, (-1, len(frames))).mean(axis=0)
            cells.append(" ".join(f"{ratio:.3f}" for ratio in per_frame))
        absorbed = 100 * np.array(score.absorbed)
        if absorbed.size:
            cells += [
                f"{absorbed.mean():+.1f}, {absorbed[np.abs(absorbed).argmax()]:+.1f}",
                f"{1e4 * np.max(np.abs(score.pedestal)):.1f}",
                f"{np.min(score.seconds):.1f}",
                f"{np.max(score.megabytes):.0f}",
            ]
        else:
            cells += [""] * 4
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "Noise of blocks: standard deviation of the means of 16 x 16 (64 x 64) pixels of "
        "(rate - truth) / flat in blank sky, over what white noise alone gives (below 1, some of "
        "the white noise that looks like stripes went with them). Limit: the most probable "
        "stripes of the same rates for their true spectra, with the true light subtracted and the "
        "true sources masked; then with the part of what is left returned to faint sources, and "
        "with the mask, as the step has it. `none` holds the flags of the jump step, some of which "
        "the 1/f noise has set: cut ramps have other stripes than their rows. `jump_check` looks "
        "at them again in `CeersDetector1`, and takes the stripes that groups have more than the "
        "rate out of the ramps; its time is not in the table. "
        "Galaxy absorbed: of its light in the brightest pixels that hold 80% of it, from the "
        "difference of what was removed with and without it. Sky level: largest change of the mean "
        "outside the source mask. Time: the smallest, with the search for sources (ours) or the "
        "ramp fit (jwst). Memory: beyond the input.",
        "",
        "Change of the flux of sources by what is left of the stripes, in percent, and what chance "
        "gives:",
        "",
        "| method | "
        + " | ".join(f"{name}, seed {seed}" for seed in seeds for name, *_ in frames)
        + " | rms |",
        "|---" * (len(frames) * len(seeds) + 2) + "|",
    ]
    for name, score in scores.items():
        flux, chance = 100 * np.array(score.flux), 100 * np.array(score.flux_chance)
        pairs = zip(flux, chance, strict=True)
        cells = ["no source" if np.isnan(a) else f"{a:+.3f} ± {b:.3f}" for a, b in pairs]
        cells += [""] * (len(frames) * len(seeds) - len(cells))
        of_flux, of_chance = (np.sqrt(np.nanmean(values**2)) for values in (flux, chance))
        rms = f"{of_flux:.3f}, {of_chance:.3f} by chance"
        lines.append(f"| {name} | {' | '.join(cells)} | {rms} |")
    lines += [
        "",
        "All pixels three sigma above the sky, against the stripes that the same exposure has over "
        "one that was simulated without 1/f noise, with the same noise and flags and without the "
        "step of the reference pixels, whose noise is one of the stripes; the level of blank sky "
        "does not count. Chance: rms of the same for the field put in 23 other places, where it "
        "has no part in what is left.",
        "",
    ]
    return "\n".join(lines)
