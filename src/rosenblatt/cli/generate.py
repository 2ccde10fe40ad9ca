"""The command `generate`."""

from __future__ import annotations

import time

import click

from rosenblatt.workflows.generate import generate_text


@click.command()
@click.argument("model")
@click.option("--prompt", default="", help="Beginning of the text.")
@click.option(
    "--length", type=click.IntRange(1, 1_000_000), default=400, show_default=True, help="Number of tokens to generate."
)
@click.option("--temperature", type=click.FloatRange(0, 10), default=0.8, show_default=True,
              help="Sampling temperature: 0 always takes the most likely token, higher values vary more.")  # fmt: skip
@click.option("--top-k", type=click.IntRange(1), help="Sample only from this many of the most likely tokens.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Sample only from the most likely tokens with this total probability.")  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random number generator."
)
@click.option("--pause", type=click.FloatRange(0), default=0.0, help="Pause after each token, in seconds.")
def generate(
    model: str, prompt: str, length: int, temperature: float, top_k: int | None, top_p: float, seed: int, pause: float
) -> None:
    """Generate text with a language model.

    \b
    rosenblatt fit book.txt --kind rnn --task language
    rosenblatt generate book.rosenblatt --prompt "It was"
    rosenblatt generate book.rosenblatt --temperature 0.5 --top-k 20 --seed 1
    """
    from rosenblatt.models.model_file import load_model

    click.echo(prompt, nl=False)
    for piece in generate_text(load_model(model), prompt, length, temperature, top_k, top_p, seed):
        click.echo(piece, nl=False)
        time.sleep(pause)
    click.echo()
