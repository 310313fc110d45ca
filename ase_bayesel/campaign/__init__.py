"""Campaigns: config, exploration, labels, refits, and the directory that keeps them.

A campaign directory, which `store` alone writes, but for a refit's own folder:

    format                      version of all files here that state none of their own
    config.yaml                 the resolved config
    inputs/                     copies of the training, test, start and prior structures, and of
                                a surrogate in place of the latter; bootstrap.extxyz and
                                bootstrap_test.extxyz where a recipe makes the first two, which
                                follow once these have labels; the hash of each in .sha256
    settings.json               name of the settings of the labels
    thresholds.json             calibrated thresholds of the triggers, if there are any
    changes.jsonl               what has changed in the config since
    decisions.json              labels that the user has accepted or rejected
    lock                        there while a process works here
    labels/                     see `labels`; elsewhere if the config says so
    rows/                       rows of the training set for the next fits, 2 GiB of them; made
                                again where they are gone
    round_0001/explore.npz      the exploration so far: walkers, posterior, trace
    round_0001/picks/           picked structures, in order
    round_0001/log/             every step of the walkers, see `recording.read_log`
    round_0001/trajectory_0.xyz frames of walker 0
    round_0001/to_label.extxyz  the batch, when the exploration has ended
    round_0001/labelled.json    settings and largest force of each pick's label, once all are there;
                                in round_0000 of the structures that a recipe has made
    round_0001/screened.json    which of these can hardly be right, and why
    round_0001/decisions.json   the decisions that the round's fit began with
    round_0001/pick_errors.npz  what the model before said of the picks, beside their labels
    round_0001/refit/           what the refit of the potential left: logs, training data
    round_0001/potential.*      the potential after the round's refit, if it has a file
    round_0001/model.npz        the surrogate after the round's refit
    round_0001/fitted.npz       the same without what it knows from no label, if it is not that
    round_0001/report.json      errors and counts; parity.npz beside it
    round_0001/DONE             written last
    round_0002_empty_1/         a round in which nothing triggered, or all walkers failed,
                                explored again since

Every file but a trajectory is written beside its place, flushed to disk and moved there in
one step, so that a kill at any moment leaves the old or the new content. Trajectories and
log may be ahead of the exploration; they are cut where it is taken up.
"""
