"""The linear surrogate and its posterior: design, evidence, fitting, force uncertainties."""
