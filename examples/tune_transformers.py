"""Tune a small transformer with the Trainer of Hugging Face: python examples/tune_transformers.py."""

import tempfile

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import rosenblatt

generator = torch.Generator().manual_seed(0)
tokens = torch.randint(1, 50, (200, 8), generator=generator)
labels = (tokens == 7).any(dim=1).long()  # whether a token occurs
rows = [{"input_ids": ids, "labels": label} for ids, label in zip(tokens, labels, strict=True)]


def train(params, run):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=params["hidden_size"], num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=8,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, num_train_epochs=2, learning_rate=params["lr"], per_device_train_batch_size=32, logging_steps=2,
            eval_strategy="epoch", save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        model = BertForSequenceClassification(config)
        callbacks = [run.transformers_callback()]
        Trainer(model, settings, train_dataset=rows[:150], eval_dataset=rows[150:], callbacks=callbacks).train()


space = {"lr": rosenblatt.log_uniform(1e-4, 1e-2), "hidden_size": rosenblatt.choice(8, 16)}
result = rosenblatt.tune(train, space, trials=3, metric="eval_loss")
print(result.best.params, result.best.score)
