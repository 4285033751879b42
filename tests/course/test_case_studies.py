"""The five cases of chapter 6, and the sentences on which neurons are read."""

from solutions.case_studies.__main__ import folder_name, index_page
from solutions.case_studies.cases import CASES
from solutions.trace.__main__ import parse_arguments
from utils.latents.sentences import PATH, read_sentences


def test_every_case_is_a_question_that_the_command_takes():
    """Answer and alternatives differ, and no two cases share a folder."""
    assert len({folder_name(case) for case in CASES}) == len(CASES) == 5
    for case in CASES:
        assert case.answer not in case.others
        options = parse_arguments([case.prompt, "--target", case.answer, "--contrast", *case.others, "--ablate"])
        assert options.prompt == case.prompt and options.contrast == list(case.others)


def test_the_index_leads_to_every_case_and_shows_text_as_text():
    page = index_page([(case, f"<b>{case.answer}") for case in CASES])
    for case in CASES:
        assert f'href="{folder_name(case)}/index.html"' in page
    assert "<b>Paris</b>" in page and "&lt;b&gt;Paris" in page
    assert "&quot;small&quot;" in page


def test_sentences_are_different_and_small():
    texts = read_sentences()
    assert len(texts) >= 300 and len(set(texts)) == len(texts)
    assert all(text.strip() == text and text for text in texts)
    assert PATH.stat().st_size <= 150_000


def test_both_halves_speak_of_the_same_things():
    """What is learnt on the first half can be tested on the second."""
    texts = read_sentences()
    half = len(texts) // 2
    for word in ("France", "opposite", "Texas", "Mary"):
        assert any(word in text for text in texts[:half]) and any(word in text for text in texts[half:]), word
