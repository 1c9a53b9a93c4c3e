import dataclasses
import json
import math

import pytest

from tests.report.synthetic import METHODS, synthetic_story
from workbench.report.story import Generation, MethodNote, Ratings, ReportError, Story


def test_a_story_survives_its_file(tmp_path, story):
    story.save(tmp_path)
    assert Story.load(tmp_path) == story


def test_the_smallest_story_survives_its_file(tmp_path):
    story = Story(title="t", lead="l", methods=(), command="c")
    story.save(tmp_path)
    assert Story.load(tmp_path) == story


def test_hostile_text_survives_its_file(tmp_path):
    text = "</script>\x00\ud800 é 🦀"
    generation = Generation(
        method="probe", concept=text, instruction=text, text=text, tokens=(text,), token_scores=(0.0,)
    )
    story = synthetic_story(generations=(generation,))
    story.save(tmp_path)
    assert Story.load(tmp_path).generations == (generation,)


@pytest.mark.parametrize("change", [{"unknown": 1}, {"methods": [{"name": "x"}]}, {"methods": None}])
def test_a_file_that_is_no_story_is_named(tmp_path, story, change):
    path = story.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ReportError, match=r"story\.json is not a story"):
        Story.load(tmp_path)


def test_a_story_without_a_title_is_named(tmp_path, story):
    path = story.save(tmp_path)
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "title"}))
    with pytest.raises(ReportError, match="title"):
        Story.load(tmp_path)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", " https://x", "ftp://x"])
def test_only_web_links_are_taken(url):
    with pytest.raises(ReportError, match="must begin with https"):
        MethodNote(name="a", label="A", source="s", url=url)


def test_tokens_need_a_score_each():
    with pytest.raises(ReportError, match="2 tokens and 1 scores"):
        Generation(method="a", concept="c", instruction="i", text="t", tokens=("t", "u"), token_scores=(0.1,))


def test_a_score_must_be_finite():
    with pytest.raises(ReportError, match="not finite"):
        Generation(method="a", concept="c", instruction="i", text="t", tokens=("t",), token_scores=(math.nan,))


def test_a_method_is_named_once():
    with pytest.raises(ReportError, match="names a method twice"):
        synthetic_story(methods=(*METHODS, METHODS[0]))


def test_the_baseline_and_the_generations_name_known_methods(story):
    with pytest.raises(ReportError, match="'nobody'"):
        synthetic_story(baseline="nobody")
    stray = dataclasses.replace(story.generations[0], method="stray")
    with pytest.raises(ReportError, match="'stray'"):
        synthetic_story(generations=(stray,))


def test_a_note_is_found_by_name(story):
    assert story.note("probe").label == "Linear probe"
    with pytest.raises(ReportError, match="does not describe the method 'nobody'"):
        story.note("nobody")


def test_ratings_may_be_missing_one_by_one(tmp_path):
    ratings = Ratings(concept=None, instruction=2.0, fluency=1.0, overall=None)
    generation = Generation(method="probe", concept="c", instruction="i", text="t", ratings=ratings)
    synthetic_story(generations=(generation,)).save(tmp_path)
    assert Story.load(tmp_path).generations[0].ratings == ratings
