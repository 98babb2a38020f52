"""The 1/f noise against its stated spectrum and against an explicit time series."""

import numpy as np
import pytest
from scipy import signal

from ceers_steps.simulate.detector.noise import knee_frequency, one_over_f_frame, one_over_f_groups
from ceers_steps.simulate.telescope.patterns import PIXEL_TIME, Readout


def in_read_order(image, n_outputs, fast_axis, slow_axis):
    """Undo the read-out geometry: series of shape (n_outputs, ny, columns)."""
    parts = np.split(image[:: 1 if slow_axis > 0 else -1], n_outputs, axis=1)
    return np.stack(
        [
            part if (fast_axis > 0) == (output % 2 == 0) else part[:, ::-1]
            for output, part in enumerate(parts)
        ]
    )


def explicit_series(n_samples, amplitude, rng):
    """Draw a 1/f series in double precision, the whole spectrum at once."""
    n = 2 * n_samples
    frequency = np.fft.rfftfreq(n, PIXEL_TIME)[1:]
    sigma = amplitude * np.sqrt(1 / (n * PIXEL_TIME) / frequency)
    coefficients = sigma * (rng.standard_normal((2, frequency.size)).T @ [1, 1j]) * n / 2
    return np.fft.irfft(np.append(0, coefficients), n)[:n_samples]


@pytest.mark.parametrize(("fast_axis", "slow_axis"), [(-1, 2), (1, -2)])
def test_spectrum_along_read_order(fast_axis, slow_axis):
    amplitude, shape = 2.0, (512, 2048)
    frame = one_over_f_frame(
        shape,
        n_outputs=4,
        fast_axis=fast_axis,
        slow_axis=slow_axis,
        rng=np.random.default_rng(5),
        amplitude=amplitude,
    )
    rows = in_read_order(frame, 4, fast_axis, slow_axis)
    # Within rows, where the sampling is regular.
    frequency, power = signal.periodogram(rows, 1 / PIXEL_TIME, window="hann")
    power = power.mean(axis=(0, 1))
    band = (frequency > 1000) & (frequency < 45_000)
    # Each of 4 * 512 rows has 2 degrees of freedom per frequency, up to 3 correlated bins; rows
    # share 40% of their variance between outputs: 5 sigma of the mean is below 15%.
    np.testing.assert_allclose(power[band] * frequency[band], amplitude**2, rtol=0.15)
    # From row to row: the means of rows, read every 5.24 ms, below the rate at which the
    # averaging over a row matters.
    row_time = (512 + 12) * PIXEL_TIME
    frequency, power = signal.welch(rows.mean(axis=2), 1 / row_time, nperseg=256)
    band = (frequency > 3) & (frequency < 25)
    measured = np.mean(power.mean(axis=0)[band] * frequency[band])
    # 28 frequencies of about 3 segments of about 3 independent outputs: 6% rms; the
    # average over a row takes up to 5% at 25 Hz and aliases add 3%.
    assert measured == pytest.approx(amplitude**2, rel=0.25)


@pytest.mark.parametrize("fraction", [0.0, 0.4, 1.0])
def test_common_part_has_the_same_tick_in_all_outputs(fraction):
    frame = one_over_f_frame(
        (512, 1024),
        n_outputs=4,
        fast_axis=-1,
        slow_axis=2,
        rng=np.random.default_rng(1),
        correlated_fraction=fraction,
    )
    series = np.diff(in_read_order(frame, 4, -1, 2).reshape(4, -1))
    correlation = np.corrcoef(series)[np.triu_indices(4, 1)]
    # Differences are nearly white: 131 000 samples give 0.003 rms.
    np.testing.assert_allclose(correlation, fraction, atol=0.015)


def test_averaged_groups_match_an_explicit_time_series():
    """Variance and correlation of pedestal, drift and fast noise, groups of 4 frames."""
    readout = Readout((32, 32), 1, 1, 2)
    n_frames, first_frames, n_draws = 4, [0, 5, 10], 400
    rng = np.random.default_rng(11)
    ramp = np.linspace(-1, 1, 32)[:, np.newaxis]

    def summarise(groups):
        groups = np.asarray(groups, dtype=float)
        pedestal = groups.mean(axis=(1, 2))
        drift = (groups * ramp).mean(axis=(1, 2)) / np.mean(ramp**2)
        fast = np.diff(groups, axis=2).std(axis=(1, 2))
        return np.concatenate([np.diff(pedestal), drift]), fast

    drawn, direct = [], []
    for _ in range(n_draws):
        drawn.append(
            summarise(
                list(
                    one_over_f_groups(
                        readout, first_frames=first_frames, n_frames=n_frames, rng=rng
                    )
                )
            )
        )
        series = explicit_series(readout.frame_ticks * 14, 2.0, rng).reshape(14, 1, -1)
        direct.append(
            summarise(
                [
                    np.mean(
                        [readout.series_to_image(series[f + i]) for i in range(n_frames)], axis=0
                    )
                    for f in first_frames
                ]
            )
        )
    slow, slow_direct = (np.array([s for s, _ in draws]) for draws in (drawn, direct))
    # A variance of 400 draws is good to 7%, the ratio of two to 10%: 4 sigma.
    np.testing.assert_allclose(slow.var(axis=0), slow_direct.var(axis=0), rtol=0.4)
    # A correlation of 400 draws is good to 0.05, the difference of two to 0.07: 4 sigma.
    np.testing.assert_allclose(np.corrcoef(slow.T), np.corrcoef(slow_direct.T), atol=0.28)
    fast, fast_direct = (np.mean([f for _, f in draws]) for draws in (drawn, direct))
    # 400 groups of 1000 differences each: 0.1%.
    assert fast == pytest.approx(fast_direct, rel=0.01)


def test_pedestals_of_neighbouring_frames_belong_together():
    readout = Readout((16, 16), 1, 1, 2)
    rng = np.random.default_rng(2)
    pedestals = np.array(
        [
            [
                g.mean()
                for g in one_over_f_groups(readout, first_frames=[0, 1, 60], n_frames=1, rng=rng)
            ]
            for _ in range(300)
        ]
    )
    near, far = np.diff(pedestals, axis=1).std(axis=0)
    # ln(60) e-foldings more between distant frames; 300 draws give each 4%.
    assert far > 1.3 * near


def test_knee_is_where_the_spectra_meet():
    knee = knee_frequency(2.0, 6.5)
    assert 4.0 / knee == pytest.approx(2 * 6.5**2 * PIXEL_TIME)


def test_same_stream_same_bits():
    draws = [
        one_over_f_frame(
            (40, 64), n_outputs=4, fast_axis=1, slow_axis=-2, rng=np.random.default_rng(8)
        )
        for _ in range(2)
    ]
    assert draws[0].dtype == np.float32
    np.testing.assert_array_equal(*draws)


def test_no_amplitude_no_noise():
    frame = one_over_f_frame(
        (8, 8), n_outputs=1, fast_axis=1, slow_axis=2, rng=np.random.default_rng(0), amplitude=0
    )
    np.testing.assert_array_equal(frame, 0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"correlated_fraction": 1.5}, "correlated_fraction is 1.5"),
        ({"amplitude": -1.0}, "amplitude is -1.0"),
        ({"n_frames": 0}, "n_frames is 0"),
    ],
)
def test_parameters_out_of_range(parameters, message):
    arguments = {"first_frames": [0], "n_frames": 1, "rng": np.random.default_rng(0)} | parameters
    with pytest.raises(ValueError, match=message):
        next(one_over_f_groups(Readout((8, 8), 1, 1, 2), **arguments))
