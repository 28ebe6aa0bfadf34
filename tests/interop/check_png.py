"""Pictures of cog-diffusion read back by Pillow: their size, their pixels in the grid, and the settings in their text.

    python3 check_png.py COG_DIFFUSION
Exits with 77 where the package is missing.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    from PIL import Image
except ImportError:
    print("skipped: the Python package `pillow` is not installed")
    sys.exit(77)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as work:
        def run(*arguments):
            subprocess.run([program, *arguments], cwd=work, check=True, stdout=subprocess.DEVNULL)

        run("train", "--pictures", "60", "--size", "8", "--patch", "2", "--layers", "2", "--heads", "2", "--dim", "16", "--batch", "4", "--steps", "2", "--out", "model")
        run("sample", "--ckpt", "model", "--class", "blue ring", "--count", "5", "--columns", "3", "--steps", "4", "--guidance", "0.5", "--seed", "9", "--out", "made")
        made = pathlib.Path(work) / "made"
        with Image.open(made / "grid.png") as grid:
            assert grid.size == (3 * 10 + 2, 2 * 10 + 2) and grid.mode == "RGB", (grid.size, grid.mode)
            grid.load()
            text = grid.text
            for i in range(5):
                with Image.open(made / "pictures" / f"{i:05}.png") as one:
                    assert one.size == (8, 8) and one.mode == "RGB", (one.size, one.mode)
                    x, y = 2 + i % 3 * 10, 2 + i // 3 * 10
                    assert one.tobytes() == grid.crop((x, y, x + 8, y + 8)).tobytes(), f"picture {i} is another in the grid"
                    assert one.text["number"] == str(i), one.text
            assert grid.getpixel((0, 0)) == (255, 255, 255)
        wanted = {"Software": "cog-diffusion", "checkpoint": "model/step-00000002/ema.safetensors", "solver": "dpm++", "steps": "4", "guidance": "0.5", "seed": "9",
                  "class": "blue ring"}
        for key, value in wanted.items():
            assert text.get(key) == value, f"{key}: {text.get(key)!r}, not {value!r}"
        # Beyond ASCII, text is UTF-8: in iTXt, for tEXt is Latin-1. And what Pillow writes is read.
        for name in ("größe", "日本"):
            folder = pathlib.Path(work) / "named" / name
            folder.mkdir(parents=True)
            for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "I;16", "CMYK"):
                picture = Image.new("I;16", (9, 11), 30000) if mode == "I;16" else Image.new("RGB", (9, 11), (10, 200, 30)).convert(mode)
                picture.save(folder / f"{mode.replace(';', '_')}.{'jpg' if mode == 'CMYK' else 'png'}")
        run("train", "--data", "named", "--size", "8", "--patch", "2", "--layers", "2", "--heads", "2", "--dim", "16", "--batch", "4", "--steps", "1", "--out", "other")
        run("sample", "--ckpt", "other", "--class", "größe", "--count", "1", "--steps", "1", "--out", "drawn")
        with Image.open(pathlib.Path(work) / "drawn" / "pictures" / "00000.png") as one:
            assert one.text["class"] == "größe", one.text
    print("Pillow reads the pictures and their settings")


if __name__ == "__main__":
    main()
