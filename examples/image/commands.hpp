// The subcommands and what each can be told; they return the exit status, and what goes wrong is an exception.
#pragma once

#include <set>
#include <string>
#include <vector>

#include <cog/core/config.hpp>

#include "../common/settings.hpp"

namespace image {

using namespace tool;

struct train_settings {
  std::string data = "shapes", out = "out";
  cog::index_t pictures = 6000, seed = 1, threads = 0;
  double held_out = 0.05;
  bool mirror = false;
  std::string device = "cpu", dtype = "float";

  std::string config, attention = "cog", schedule = "vp", positions = "random", autoencoder;
  cog::index_t size = 0, patch = 4, layers = 4, heads = 4, dim = 128;
  bool unconditional = false, no_final_conv = false;
  double scale_factor = 0.18215;

  cog::index_t steps = 2000, batch = 32;
  double lr = 1e-3, min_lr = 1e-4;
  cog::index_t warmup = 100;
  double beta1 = 0.9, beta2 = 0.99, weight_decay = 0.03, clip = 1, ema = 0.999, drop_class = 0.1;
  bool recompute = false;

  std::string resume;
  cog::index_t save_every = 500, keep = 2, eval_every = 500, eval_pictures = 200, previews = 24, preview_steps = 20,
               log_every = 10;

  void visit(auto&& f) {
    using s = setting;
    std::vector<std::string> const kinds{"cog", "softmax"}, schedules{"vp", "discrete"};
    f(s{"Common", "-d,--data", "shapes|DIR|FILE",
        "shapes (drawn by the program), a folder of pictures or of one sub-folder a class, CIFAR-10's .bin or MNIST's "
        "IDX files, or a folder of latents and texts"},
      data);
    f(s{"Common", "--pictures", "N", "how many shapes to draw", 1, 1e7}, pictures);
    f(s{"Common", "--held-out", "X", "share of the pictures that is only validated on", 0, 0.9}, held_out);
    f(s{"Common", "--mirror", nullptr, "show half of the pictures mirrored"}, mirror);
    f(s{"Common", "-s,--seed", "N", "everything random follows from it", 0, 9e15}, seed);
    f(s{"Common", "-t,--threads", "N", "of the CPU; 0: all cores", 0, 1024}, threads);
    visit_target(f, device, dtype);

    f(s{"Model", "--config", "NAME",
        "a published model, such as uvic_s2_mscoco ('info --config all' lists them): settings that other options "
        "change"},
      config);
    f(s{"Model",
        "--attention",
        "KIND",
        "cog (U-ViC: in all blocks but the first and last) or softmax (U-ViT)",
        {},
        {},
        kinds},
      attention);
    f(s{"Model",
        "--schedule",
        "KIND",
        "vp (continuous) or discrete (1000 levels, Stable Diffusion's)",
        {},
        {},
        schedules},
      schedule);
    f(s{"Model", "--size", "N", "side of the pictures; 0: that of the data", 0, 4096}, size);
    f(s{"Model", "--patch", "N", "side of a patch; must divide --size", 1, 256}, patch);
    f(s{"Model", "--layers", "N", "blocks, and one in the middle; even", 2, 1000}, layers);
    f(s{"Model", "--heads", "N", "attention heads; must divide --dim", 1, 1000}, heads);
    f(s{"Model", "--dim", "N", "width of the tokens", 2, 65536}, dim);
    f(s{"Model", "--unconditional", nullptr, "do not tell the model the classes"}, unconditional);
    f(s{"Model", "--no-final-conv", nullptr, "no convolution at the end"}, no_final_conv);
    f(s{"Model",
        "--positions",
        "KIND",
        "what the learnt positions begin as: random (published) or sinusoids of row and column, which teach sooner",
        {},
        {},
        {"random", "sinusoids"}},
      positions);
    f(s{"Model", "--scale-factor", "X", "of latents: what an autoencoder's are multiplied by", 1e-6, 1e6},
      scale_factor);

    f(s{"Optimiser", "--steps", "N", "updates", 1, 1e12}, steps);
    f(s{"Optimiser", "--batch", "N", "pictures at a time", 1, 1e6}, batch);
    f(s{"Optimiser", "--lr", "X", "peak learning rate", 0, 10}, lr);
    f(s{"Optimiser", "--min-lr", "X", "what the cosine falls to; --lr or more: constant", 0, 10}, min_lr);
    f(s{"Optimiser", "--warmup", "N", "steps of linear warm-up", 0, 1e12}, warmup);
    f(s{"Optimiser", "--beta1", "X", "decay of AdamW's first moment", 0, 0.999999}, beta1);
    f(s{"Optimiser", "--beta2", "X", "decay of AdamW's second moment", 0, 0.999999}, beta2);
    f(s{"Optimiser", "--weight-decay", "X", "of all parameters", 0, 10}, weight_decay);
    f(s{"Optimiser", "--clip", "X", "largest norm of the gradient; 0: not clipped", 0, 1e9}, clip);
    f(s{"Optimiser", "--ema", "X", "decay of averaged weights, which are sampled from; 0: none", 0, 0.999999}, ema);
    f(s{"Optimiser", "--drop-class", "X", "share of examples without their class or text, for guidance; 0: none", 0,
        0.9},
      drop_class);
    f(s{"Optimiser", "--recompute", nullptr, "compute activations twice instead of keeping them: less memory"},
      recompute);

    f(s{"Output", "-o,--out", "DIR", "checkpoints, log.jsonl, loss.png and previews"}, out);
    f(s{"Output", "--resume", "auto|DIR", "go on from the newest checkpoint in --out, or from this one"}, resume);
    f(s{"Output", "--save-every", "N", "steps between checkpoints; 0: only at the end", 0, 1e12}, save_every);
    f(s{"Output", "--keep", "N", "checkpoints to keep; 0: all", 0, 1e6}, keep);
    f(s{"Output", "--eval-every", "N", "steps between validations, each with a preview; 0: only at the end", 0, 1e12},
      eval_every);
    f(s{"Output", "--eval-pictures", "N", "held-out pictures to validate on; 0: all", 0, 1e9}, eval_pictures);
    f(s{"Output", "--previews", "N", "pictures of a preview; 0: none", 0, 1e4}, previews);
    f(s{"Output", "--preview-steps", "N", "evaluations to make a preview", 1, 1e4}, preview_steps);
    f(s{"Output", "--autoencoder", "FILE", "its weights as safetensors: makes pictures of latents, for previews"},
      autoencoder);
    f(s{"Output", "--log-every", "N", "steps between lines", 1, 1e12}, log_every);
  }

  /// Settings that a resumed run cannot change, for they are built into the checkpoint.
  static bool is_fixed(std::string const& name) {
    for (char const* fixed : {"dtype", "config", "attention", "schedule", "size", "patch", "layers", "heads", "dim",
                              "unconditional", "no-final-conv", "scale-factor", "drop-class", "held-out", "seed"})
      if (name == fixed) return true;
    return false;
  }
};

struct sample_settings {
  std::string ckpt, out = "samples", clip, autoencoder;
  std::vector<std::string> classes, prompts;
  cog::index_t count = 24, batch = 64, seed = 1, threads = 0, steps = 50, order = 0, columns = 0;
  std::string solver = "dpm++", device = "cpu", dtype = "float";
  double guidance = 0, threshold = 0.995;
  bool no_ema = false, no_singles = false;

  void visit(auto&& f) {
    using s = setting;
    std::vector<std::string> const solvers{"dpm++", "dpm", "dpm++2m", "ddim", "ddpm", "euler", "euler-maruyama"};
    f(s{"Common", "-c,--ckpt", "DIR", "what train wrote, or a converted model", {}, {}, {}, true}, ckpt);
    f(s{"Common", "-t,--threads", "N", "of the CPU; 0: all cores", 0, 1024}, threads);
    visit_target(f, device, dtype);
    f(s{"Common", "--no-ema", nullptr, "the weights of the last step, not their average"}, no_ema);
    f(s{"Common", "--autoencoder", "FILE", "its weights as safetensors, for a model of latents"}, autoencoder);
    f(s{"Common", "--clip", "DIR", "model.safetensors, config.json, vocab.json and merges.txt, for a model of texts"},
      clip);
    f(s{"Sampling", "--class", "NAME", "a class by name or number; if not given, all in turn"}, classes);
    f(s{"Sampling", "-p,--prompt", "TEXT", "what a picture shall show; several in turn"}, prompts);
    f(s{"Sampling", "-n,--count", "N", "pictures to make", 1, 1e7}, count);
    f(s{"Sampling", "--solver", "NAME", "dpm++, dpm, dpm++2m, ddim, ddpm, euler or euler-maruyama", {}, {}, solvers},
      solver);
    f(s{"Sampling", "--steps", "N", "evaluations of the network a picture", 1, 1e5}, steps);
    f(s{"Sampling", "--order", "N", "of dpm and dpm++: 1 to 3, of dpm++2m 1 or 2; 0: the highest", 0, 3}, order);
    f(s{"Sampling", "--threshold", "X",
        "dynamic thresholding: quantile of a picture's values that is brought into range; 0: none; not for euler, nor "
        "for latents",
        0, 1},
      threshold);
    f(s{"Sampling", "--guidance", "X", "s of c + s (c - u): 0 is none, 1 what others call a scale of 2", -1, 100},
      guidance);
    f(s{"Sampling", "-s,--seed", "N", "the same seed makes the same pictures; by ddpm and euler-maruyama, in batches of the same size", 0, 9e15}, seed);
    f(s{"Sampling", "--batch", "N", "pictures at a time", 1, 1e5}, batch);
    f(s{"Output", "-o,--out", "DIR", "grid.png, and pictures/ by number, those of several classes in a folder each"},
      out);
    f(s{"Output", "--columns", "N", "of the grid; 0: one for each class, or a square", 0, 1e4}, columns);
    f(s{"Output", "--no-singles", nullptr, "only the grid"}, no_singles);
  }
};

struct fid_settings {
  std::vector<std::string> samples;
  std::string reference = "shapes", classifier, inception, device = "cpu";
  cog::index_t pictures = 2400, seed = 9, threads = 0;

  void visit(auto&& f) {
    using s = setting;
    f(s{"Common", "--samples", "DIR", "pictures to judge, or what sample wrote; several make a table", {}, {}, {}, true}, samples);
    f(s{"Common", "-r,--reference", "shapes|DIR|FILE",
        "real pictures, as for train --data; with --inception also an .npz of statistics"},
      reference);
    f(s{"Common", "--pictures", "N", "how many shapes to draw", 100, 1e7}, pictures);
    f(s{"Common", "--inception", "FILE",
        "Inception's weights as safetensors: FID instead of features of a classifier that is trained here"},
      inception);
    f(s{"Common", "--classifier", "FILE", "where the classifier is kept between calls"}, classifier);
    f(s{"Common", "-s,--seed", "N", "of the classifier, and of drawn shapes", 0, 9e15}, seed);
    f(s{"Common", "-t,--threads", "N", "of the CPU; 0: all cores", 0, 1024}, threads);
    visit_device(f, device);
  }
};

struct info_settings {
  std::string ckpt, config;
  void visit(auto&& f) {
    f(setting{"Common", "-c,--ckpt", "DIR", "what train wrote, or a converted model"}, ckpt);
    f(setting{"Common", "--config", "NAME", "a published model; 'all' lists them"}, config);
  }
};

struct plot_settings {
  std::vector<std::string> runs;
  std::string out = "loss.png";
  void visit(auto&& f) {
    using s = setting;
    f(s{"Common", "-r,--run", "DIR", "what train wrote; several are drawn together", {}, {}, {}, true}, runs);
    f(s{"Output", "-o,--out", "FILE", "the picture"}, out);
  }
};

/// What a loss is, in pictures.
inline constexpr char const* loss_axis = "loss (mean square error of the noise)";

/// `given`: the settings named on the command line; a resumed run takes the others from its checkpoint.
template <class B, class T>
int train(train_settings settings, std::set<std::string> const& given);
template <class B, class T>
int sample(sample_settings const& settings);
/// In float: distances are compared.
template <class B>
int fid(fid_settings const& settings);
int info(info_settings const& settings);
int plot(plot_settings const& settings);

}  // namespace image
