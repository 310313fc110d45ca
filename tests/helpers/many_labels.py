"""A campaign with as many labels as it may have after years."""

import json
import shutil

from ase_bayesel.campaign.store import Store
from ase_bayesel.structures.identity import structure_id
from helpers.campaigns import picks

PICKS_A_ROUND = 20


def grown(config, folder, n_labels):
    """A copy of a campaign of one round with so many labels more; returns its config.

    Its rounds repeat the first pick under other names.
    """
    target = folder / str(n_labels)
    shutil.copytree(config.parent, target)
    directory = target / "campaign"
    stored = directory / "config.yaml"
    stored.write_text(stored.read_text().replace(str(config.parent), str(target)))
    store = Store(directory)
    identity = structure_id(picks(store)[0])
    (label,) = directory.glob(f"labels/e*/{identity}.extxyz")
    report = json.loads((directory / "round_0001" / "report.json").read_text())
    for number in range(2, 2 + n_labels // PICKS_A_ROUND):
        names = [f"s{number:07x}{k:08x}" for k in range(PICKS_A_ROUND)]
        store.exploration(number).pick_path(0, "").parent.mkdir(parents=True)
        for k, name in enumerate(names):
            shutil.copyfile(label, label.with_name(f"{name}.extxyz"))
            shutil.copyfile(
                store.exploration(1).pick_path(0, identity),
                store.exploration(number).pick_path(k, name),
            )
        store.save_labelled(number, [(name, label.parent.name) for name in names])
        own = {**report, "round_number": number, "picks": PICKS_A_ROUND}
        (store.round_directory(number) / "report.json").write_text(json.dumps(own))
        (store.round_directory(number) / "DONE").touch()
    shutil.copyfile(store.model_path(1), store.model_path(store.completed_rounds() - 1))
    return target / config.name
