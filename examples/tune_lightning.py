"""Tune a module of Lightning: python examples/tune_lightning.py."""

import lightning
import torch
from sklearn.datasets import make_moons
from torch.utils.data import DataLoader, TensorDataset

import rosenblatt

X, y = make_moons(400, noise=0.2, random_state=0)
rows = TensorDataset(torch.tensor(X, dtype=torch.float32), torch.tensor(y))


class Classifier(lightning.LightningModule):
    def __init__(self, lr, units):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, units), torch.nn.ReLU(), torch.nn.Linear(units, 2))

    def training_step(self, batch, _):
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def train(params, run):
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        max_epochs=3, logger=run.lightning_logger(), accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    training, validation = torch.utils.data.random_split(rows, [0.75, 0.25], torch.Generator().manual_seed(0))
    trainer.fit(Classifier(**params), DataLoader(training, 32, shuffle=True), DataLoader(validation, 100))


space = {"lr": rosenblatt.log_uniform(1e-3, 1e-1), "units": rosenblatt.integer(4, 32)}
result = rosenblatt.tune(train, space, trials=3, metric="val_loss")
print(result.best.params, result.best.score)
