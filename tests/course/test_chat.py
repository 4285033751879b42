"""Chat prompts: one beginning-of-sequence token, the template's positions hidden; and models that have no such token."""

import json

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from solutions.trace import __main__ as command
from tests.tiny import PROMPT, WORDS, tiny_model, tiny_transcoders
from utils.engine.arguments import first_visible_position, tokenize_prompt
from utils.engine.chat import chat_prompt
from utils.engine.graph import AttributionResult, NodeType
from utils.models import load_model
from utils.models.packaged import packaged_folder
from utils.models.registry import MODELS

# as Gemma-it's: the template itself begins with the beginning-of-sequence token, and trims the message
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{{ message['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
TURNS = ["<start_of_turn>", "<end_of_turn>"]


def save_chat_tokenizer(folder, template, bos="<bos>"):
    """One token a word or line break, with a chat template, in the place of the tiny model's own tokenizer."""
    first = ["<pad>", "<bos>", "<unk>", *WORDS]
    others = ["\n", "user", "model"]
    vocab = {word: i for i, word in enumerate([*first[: len(first) - len(others)], *others])}
    tokenizer = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    names = {"bos_token": bos} if bos else {}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", **names)
    fast.add_special_tokens({"additional_special_tokens": TURNS})
    fast.chat_template = template
    fast.save_pretrained(folder)


def make_bundle(folder, template=None, bos="<bos>", architecture="gemma3"):
    model = tiny_model(folder / "model", architecture, dtype=torch.float32)
    for layer, transcoder in tiny_transcoders(model).items():
        transcoder.save_model(folder / "transcoders" / f"layer_{layer}")
    save_chat_tokenizer(folder / "model", template, bos)
    if not bos:
        path = folder / "model" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"bos_token_id": None}))
    return folder


@pytest.fixture
def small_vocabulary(monkeypatch):
    """Two words fewer, so that the turns of a chat fit into the tiny model's vocabulary."""
    monkeypatch.setattr("tests.tiny.WORDS", [*WORDS, *TURNS])


@pytest.mark.usefixtures("small_vocabulary")
def test_gemmas_template_gives_one_bos_and_hides_what_stands_before_the_message(tmp_path, capsys):
    folder = make_bundle(tmp_path / "gemma-it", GEMMA)
    message = "  the capital of France is "
    code = command.main(
        [message, "--chat", "--model", str(folder), "--out", str(tmp_path / "o"), "--node-threshold", "1"]
    )
    assert code == 0, capsys.readouterr().err
    result = AttributionResult.load(tmp_path / "o" / "result")
    tokens = [
        "<bos>",
        "<start_of_turn>",
        "user",
        "\n",
        *message.split(),
        "<end_of_turn>",
        "\n",
        "<start_of_turn>",
        "model",
        "\n",
    ]
    assert result.str_tokens == tokens and result.graph.start_posn == tokens.index("the")
    kept = [node for node in result.kept_nodes if node.node_type is NodeType.LATENT]
    assert kept and min(node.ctx_idx for node in kept) >= tokens.index("the")
    assert result.scores["completeness_gap"] < 1e-3


@pytest.mark.usefixtures("small_vocabulary")
@pytest.mark.parametrize("message", ["user", "model is user", "the capital"])
def test_a_message_of_the_templates_own_words_is_found_where_it_stands(tmp_path, message):
    model = load_model(make_bundle(tmp_path / "gemma-it", GEMMA))
    chat = chat_prompt(model, message)
    tokens = tokenize_prompt(model, chat.text)[0]
    first = message.split()[0]
    assert chat.start_posn == 4 and model.tokenizer.decode([tokens[4]]) == first
    assert int((tokens == model.tokenizer.bos_token_id).sum()) == 1


@pytest.mark.usefixtures("small_vocabulary")
def test_a_template_without_bos_gets_one_where_the_model_has_one(tmp_path):
    model = load_model(make_bundle(tmp_path / "it", GEMMA.replace("{{ bos_token }}", "")))
    chat = chat_prompt(model, "the capital")
    tokens = tokenize_prompt(model, chat.text)[0]
    assert tokens[:2].tolist() == [1, model.tokenizer.convert_tokens_to_ids("<start_of_turn>")] and chat.start_posn == 4


def test_a_bos_in_the_text_is_not_doubled(tiny_bundle):
    model = load_model(tiny_bundle)
    assert tokenize_prompt(model, f"<bos> {PROMPT}").tolist() == tokenize_prompt(model, PROMPT).tolist()


@pytest.mark.usefixtures("small_vocabulary")
def test_without_bos_position_0_is_a_real_token_and_that_is_said(tmp_path, capsys):
    """As Qwen3's: the first token is visible, has latents of its own, and everything adds up."""
    folder = make_bundle(tmp_path / "qwen", bos=None, architecture="qwen3")
    model = load_model(folder)
    tokens = tokenize_prompt(model, PROMPT)
    assert tokens.shape[1] == len(PROMPT.split()) and first_visible_position(model, tokens, None) == 0
    assert command.main([PROMPT, "--model", str(folder), "--out", str(tmp_path / "o"), "--node-threshold", "1"]) == 0
    assert "position 0 is a token of the prompt, 'the'" in capsys.readouterr().out
    result = AttributionResult.load(tmp_path / "o" / "result")
    assert any(node.ctx_idx == 0 and node.node_type is NodeType.LATENT for node in result.kept_nodes)
    assert result.scores["completeness_gap"] < 1e-3


def test_a_model_without_a_template_is_one_sentence(tiny_bundle, tmp_path, capsys):
    assert command.main([PROMPT, "--chat", "--model", str(tiny_bundle), "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert "has no chat template" in said and said.count("\n") == 1 and not (tmp_path / "o").exists()


@pytest.mark.usefixtures("small_vocabulary")
def test_a_template_that_refuses_is_one_sentence(tmp_path, capsys):
    folder = make_bundle(tmp_path / "it", "{{ raise_exception('No messages on Mondays') }}")
    assert command.main([PROMPT, "--chat", "--model", str(folder), "--out", str(tmp_path / "o")]) == 2
    assert "cannot be used: No messages on Mondays." in capsys.readouterr().err


def test_smollm2_answers_in_its_own_turn():
    """The real model's own template, and its tokens."""
    spec = MODELS["smollm2-135m"]
    if packaged_folder(spec) is None:
        pytest.skip("the package with SmolLM2's weights is not installed")
    model = load_model(spec.name)
    chat = chat_prompt(model, "What is the capital of France?")
    tokens = tokenize_prompt(model, chat.text)[0]
    assert chat.text.endswith("<|im_start|>assistant\n") and model.tokenizer.decode(
        tokens[chat.start_posn :]
    ).startswith("What is the capital")
    assert int((tokens == model.tokenizer.bos_token_id).sum()) == 1
    with torch.no_grad():
        answer = model.tokenizer.decode([int(model(tokens[None])[0, -1].argmax())])
    assert answer.strip() in ("The", "Paris")
