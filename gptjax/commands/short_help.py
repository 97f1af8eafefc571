"""Of each command the options that matter, and examples."""

from collections.abc import Mapping

from gptjax.help import Short

HELP: Mapping[str, Short] = {
    "pretrain": Short(
        (
            *("--config", "--data", "--out", "--resume", "--init", "--tokenizer"),
            *("--train.epochs", "--train.batch-size", "--lr", "--train.seed"),
        ),
        (
            "gptjax pretrain --config tiny",
            "gptjax pretrain --config small --data path/to/books",
            "gptjax pretrain --out runs/pretrain/small --resume auto",
        ),
    ),
    "finetune": Short(
        (
            *("--task", "--data", "--init", "--out", "--columns", "--train.epochs", "--lr"),
            *("--max-train", "--seeds", "--train-sizes"),
        ),
        (
            "gptjax finetune --task sst2 --data path/to/sst2",
            "gptjax finetune --task my-task.toml --data rows.csv --init runs/pretrain/small",
            "gptjax finetune --task sst2 --data path/to/sst2 --seeds 1 2 3",
        ),
    ),
    "evaluate": Short(
        (
            *("--run", "--data", "--split", "--task", "--context", "--stride", "--batch-size"),
            *("--checkpoint", "--text-column", "--out"),
        ),
        (
            "gptjax evaluate --run runs/pretrain/tiny --data book.txt",
            "gptjax evaluate --run runs/finetune/sst2/tiny --data path/to/sst2 --split test",
        ),
    ),
    "generate": Short(
        (
            *("--run", "--prompt", "--max-tokens", "--temperature", "--top-k", "--top-p"),
            *("--num-samples", "--seed", "--stop"),
        ),
        (
            "gptjax generate --run runs/pretrain/tiny --prompt 'The function returns'",
            "gptjax generate --run runs/pretrain/tiny --temperature 0 --max-tokens 50",
        ),
    ),
    "predict": Short(
        (
            *("--run", "--data", "--out", "--min-probability", "--batch-size", "--columns"),
            *("--delimiter", "--encoding", "--checkpoint"),
        ),
        ("gptjax predict --run runs/finetune/sst2/tiny --data rows.csv --out answers.tsv",),
    ),
    "probe": Short(
        (
            *("--run", "--task", "--data", "--features", "--layer", "--units", "--folds"),
            *("--train-sizes", "--show", "--out"),
        ),
        (
            "gptjax probe --run runs/pretrain/tiny --task sst2 --data path/to/sst2 --layer all",
            "gptjax probe --run runs/pretrain/tiny --show 'A fine film.'",
        ),
    ),
    "tokenizer": Short(
        ("--data", "--out", "--vocab-size", "--tokenizer", "--text-column"),
        ("gptjax tokenizer --data path/to/books --out books.model --vocab-size 8000",),
    ),
    "zeroshot": Short(
        (),
        ("gptjax zeroshot --run runs/pretrain/small --task sst2 --data path/to/sst2",),
    ),
    "knowledge": Short(
        ("--wordnet", "--task", "--data", "--also", "--out", "--lemmas", "--min-count"),
        ("gptjax knowledge --wordnet /usr/share/wordnet --task snli --data path/to/snli",),
    ),
    "serve": Short(
        (
            *("--run", "--host", "--port", "--token", "--name", "--batch-size", "--max-rows"),
            *("--max-queue", "--timeout", "--checkpoint"),
        ),
        (
            "gptjax serve --run runs/finetune/sst2/tiny",
            "GPTJAX_SERVE_TOKEN=secret gptjax serve --run runs/pretrain/tiny --host 0.0.0.0",
        ),
    ),
    "play": Short(
        (),
        (
            "gptjax play --run runs/pretrain/tiny",
            "gptjax play --run runs/pretrain/tiny --run runs/finetune/sst2/tiny",
            "gptjax play --run runs/pretrain/tiny --checkpoint curve/64 --checkpoint best",
        ),
    ),
    "sweep": Short((), ("gptjax sweep sweep.toml --jobs 2",)),
    "compare": Short((), ("gptjax compare runs/finetune/sst2/a runs/finetune/sst2/b",)),
    "report": Short((), ("gptjax report --runs runs --out report.html",)),
    "import": Short((), ("gptjax import --init openai:path/to/files --out runs/pretrain/gpt1",)),
    "export": Short((), ("gptjax export --run runs/pretrain/tiny --format hf --out hub",)),
    "doctor": Short((), ("gptjax doctor",)),
}
