"""The entry for Streamlit Community Cloud: it installs the requirements.txt beside the file it is told to run."""

import runpy

from recommender import paths

runpy.run_path(str(paths.bundled("app.py")), run_name="__main__")
