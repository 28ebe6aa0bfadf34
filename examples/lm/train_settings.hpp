// What `cog-lm train` can be told.
#pragma once

#include <string>

#include <cog/core/config.hpp>

#include "../common/settings.hpp"

namespace lm {

using namespace tool;

struct train_settings {
  std::string data, out = "out";
  std::string tokenizer = "bytes";
  double held_out = 0.1;
  cog::index_t seed = 1, threads = 0;
  std::string device = "cpu", dtype = "float";

  std::string attention = "cog";
  cog::index_t layers = 4, heads = 4, dim = 128, hidden = 0, context = 128;
  double dropout = 0;

  cog::index_t steps = 2000, batch = 16, accumulate = 1;
  double lr = 1e-3, min_lr = 1e-4;
  cog::index_t warmup = 100, decay_steps = 0;
  double beta1 = 0.9, beta2 = 0.99, weight_decay = 0.1, clip = 1, ema = 0;
  bool recompute = false;

  std::string resume;
  cog::index_t save_every = 500, keep = 2, eval_every = 250, eval_windows = 200, log_every = 10, sample_tokens = 64;

  void visit(auto&& f) {
    using s = setting;
    f(s{"Common", "-d,--data", "FILE|DIR", "text to learn from"}, data);
    f(s{"Common", "--tokenizer", "KIND", "bytes, bpe, bpe:SIZE, a tokenizer.json or a SentencePiece *.model"},
      tokenizer);
    f(s{"Common", "--held-out", "X", "share of the text that is only validated on", 0, 0.9}, held_out);
    f(s{"Common", "-s,--seed", "N", "everything random follows from it", 0, 9e15}, seed);
    f(s{"Common", "-t,--threads", "N", "of the CPU; 0: all cores", 0, 1024}, threads);
    visit_target(f, device, dtype);

    f(s{"Model",
        "--attention",
        "KIND",
        "cog (in all layers but the first and last) or softmax",
        {},
        {},
        {"cog", "softmax"}},
      attention);
    f(s{"Model", "--layers", "N", "transformer blocks", 1, 1000}, layers);
    f(s{"Model", "--heads", "N", "attention heads; must divide --dim", 1, 1000}, heads);
    f(s{"Model", "--dim", "N", "width of the residual stream", 2, 65536}, dim);
    f(s{"Model", "--hidden", "N", "width of the feed-forward layers; 0: three times --dim", 0, 1e6}, hidden);
    f(s{"Model", "--context", "N", "tokens that a prediction can look back on", 1, 1e6}, context);
    f(s{"Model", "--dropout", "X", "of embeddings and of what attention and feed-forward add", 0, 0.9}, dropout);

    f(s{"Optimiser", "--steps", "N", "updates", 1, 1e12}, steps);
    f(s{"Optimiser", "--batch", "N", "sequences at a time", 1, 1e6}, batch);
    f(s{"Optimiser", "--accumulate", "N", "batches per update", 1, 1e6}, accumulate);
    f(s{"Optimiser", "--lr", "X", "peak learning rate", 0, 10}, lr);
    f(s{"Optimiser", "--min-lr", "X", "what the cosine falls to; --lr or more: constant", 0, 10}, min_lr);
    f(s{"Optimiser", "--warmup", "N", "steps of linear warm-up", 0, 1e12}, warmup);
    f(s{"Optimiser", "--decay-steps", "N", "where the cosine ends; 0: at --steps", 0, 1e12}, decay_steps);
    f(s{"Optimiser", "--beta1", "X", "decay of AdamW's first moment", 0, 0.999999}, beta1);
    f(s{"Optimiser", "--beta2", "X", "decay of AdamW's second moment", 0, 0.999999}, beta2);
    f(s{"Optimiser", "--weight-decay", "X", "of matrices", 0, 10}, weight_decay);
    f(s{"Optimiser", "--clip", "X", "largest norm of the gradient; 0: not clipped", 0, 1e9}, clip);
    f(s{"Optimiser", "--ema", "X", "decay of averaged weights, kept beside the last ones; 0: none", 0, 0.999999}, ema);
    f(s{"Optimiser", "--recompute", nullptr, "compute activations twice instead of keeping them: less memory"},
      recompute);

    f(s{"Output", "-o,--out", "DIR", "checkpoints, log.jsonl and loss.png"}, out);
    f(s{"Output", "--resume", "auto|DIR", "go on from the newest checkpoint in --out, or from this one"}, resume);
    f(s{"Output", "--save-every", "N", "steps between checkpoints; 0: only at the end", 0, 1e12}, save_every);
    f(s{"Output", "--keep", "N", "checkpoints to keep; 0: all", 0, 1e6}, keep);
    f(s{"Output", "--eval-every", "N", "steps between validations, each with a sample; 0: only at the end", 0, 1e12},
      eval_every);
    f(s{"Output", "--eval-windows", "N", "held-out sequences to validate on, evenly spread; 0: all", 0, 1e12},
      eval_windows);
    f(s{"Output", "--sample-tokens", "N", "length of the samples; 0: none", 0, 1e6}, sample_tokens);
    f(s{"Output", "--log-every", "N", "steps between lines", 1, 1e12}, log_every);
  }

  /// Settings that a resumed run cannot change, for they are built into the checkpoint.
  static bool is_fixed(std::string const& name) {
    return name == "dtype" || name == "tokenizer" || name == "attention" || name == "layers" || name == "heads" || name == "dim" ||
           name == "hidden" || name == "context";
  }
};

}  // namespace lm
