#!/usr/bin/env bash
# Lessons in an environment like Colab's: its Python and versions, and a stand-in for google.colab.
# Their first cell installs the course, and may move nothing. Then each control of each picture is
# moved. Needs Python 3.13 and several GB.
#   tests/colab.sh                                            # all lessons
#   tests/colab.sh lessons/00_*.ipynb lessons/07_*.ipynb
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- lessons/[0-9]*.ipynb
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3.13}" -m venv "$place/v"
source "$place/v/bin/activate"
pip install -q -r tests/colab-2026-08-19.txt nbclient
packages=$(python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
mkdir -p "$packages/google/colab"
touch "$packages/google/colab/__init__.py"
echo "import google.colab" > "$packages/colab.pth"    # it is loaded in every process, as there

mkdir "$place/course"
cp -r lessons peft_teach assets pyproject.toml README.md LICENSE "$place/course"
grep -rl /content/peft-teach "$place/course/lessons" | xargs sed -i "s#/content/peft-teach#$place/course#"
pip list --format=freeze > "$place/before"
for lesson in "$@"; do
    (unset PYTHONPATH; PEFT_TEACH_BUDGET=smoke PEFT_TEACH_WORK='' \
        jupyter execute --timeout=600 "$place/course/$lesson")
done
pip list --format=freeze | diff "$place/before" - | tee "$place/moved" || true
if grep '^<' "$place/moved"; then exit 1; fi

pip install -q pytest nbval    # afterwards: what they bring is not Colab's
python -m pytest -o addopts= -q tests/course/test_pictures.py
