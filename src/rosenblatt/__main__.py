"""Run the command `rosenblatt` as `python -m rosenblatt`."""

from rosenblatt.cli.main import main

main()
