"""A file that is put in the place of another is its owner's alone, whatever lay beside it."""

from __future__ import annotations

import stat

from pyobshell.whole_file import replace_file


def test_a_draft_that_was_left_there_lends_the_file_neither_mode_nor_content(tmp_path):
    file, draft, elsewhere = (tmp_path / name for name in ("key", "key.draft", "elsewhere"))
    draft.write_text("left, and longer than what comes")
    draft.chmod(0o644)
    replace_file(file, "secret")
    assert file.read_text() == "secret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    draft.symlink_to(elsewhere)
    replace_file(file, "another")
    assert (file.read_text(), elsewhere.exists()) == ("another", False)
