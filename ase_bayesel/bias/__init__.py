"""Biased surfaces: kinds of bias, tau, evaluators, `Prediction`, the ASE calculator, torch-sim."""
