"""Calibration of a sensor: from a drifting, saturating reading and its temperature back to the pressure, with errors.

Writes calibration.png beside where it is run: python examples/calibration.py
"""

import matplotlib.pyplot as plt
import numpy as np

from stiffgrad.estimators import FlowRegressor

rng = np.random.default_rng(0)
pressure = rng.uniform(0, 10, 300)  # bar
temperature = rng.uniform(-20, 60, 300)  # degrees Celsius
volts = 4 * np.tanh(0.16 * pressure * (1 + 0.003 * temperature)) + 0.01 * temperature + 0.02 * rng.normal(size=300)
readings = np.column_stack([volts, temperature])

model = FlowRegressor().fit(readings[:150], pressure[:150])
mean, std = model.predict(readings[150:], return_std=True)
error = mean - pressure[150:]
inside = np.mean(np.abs(error) < 2 * std)
print(f"root mean square error on 150 held-out readings: {np.sqrt(np.mean(error**2)):.3f} bar")
print(f"within two standard deviations: {inside:.0%}")

order = np.argsort(pressure[150:])
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.errorbar(pressure[150:][order], error[order], 2 * std[order], fmt=".", elinewidth=0.8, label="held-out readings")
axes.axhline(0, color="black", linewidth=0.8)
axes.set(xlabel="pressure [bar]", ylabel="error and two standard deviations [bar]", title="sensor, nothing tuned")
axes.legend()
figure.savefig("calibration.png", dpi=120)
