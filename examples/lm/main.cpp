// cog-lm: trains small language models with Cog or softmax attention on any text, lets them write, and measures them.
#include "../common/command_line.hpp"
#include "../common/device.hpp"
#include "commands.hpp"

int main(int count, char** arguments) {
  tool::command_line p(
      "cog-lm", "Trains small language models with Cog or softmax attention, lets them write, and measures them.",
      "  cog-lm train --data book.txt --out out/book\n"
      "  cog-lm sample --ckpt out/book --prompt \"Once\" --tokens 200");
  p.add("train", "learn from text",
        "  cog-lm train --data book.txt --out out/book\n"
        "  cog-lm train --data src/ --tokenizer bpe:4096 --attention softmax --steps 5000 --out out/src\n"
        "  cog-lm train --out out/book --resume auto --steps 4000",
        lm::train_settings{}, [](auto& s, auto const& given) {
          return tool::on_target(s.device, s.dtype, [&]<class B, class T>(tool::target<B, T>) { return lm::train<B, T>(s, given); });
        });
  p.add("sample", "write text",
        "  cog-lm sample --ckpt out/book --prompt \"Once\" --tokens 200\n"
        "  cog-lm sample --ckpt out/book --greedy --stop \"\\n\\n\" > text.txt",
        lm::sample_settings{}, [](auto& s, auto const&) {
          return tool::on_target(s.device, s.dtype, [&]<class B, class T>(tool::target<B, T>) { return lm::sample<B, T>(s); });
        });
  p.add("eval", "measure on held-out or other text: nats per token, bits per byte, perplexity",
        "  cog-lm eval --ckpt out/book\n"
        "  cog-lm eval --ckpt out/cog --ckpt out/softmax --data other.txt",
        lm::eval_settings{}, [](auto& s, auto const&) {
          return tool::on_target(s.device, s.dtype, [&]<class B, class T>(tool::target<B, T>) { return lm::eval<B, T>(s); });
        });
  p.add("info", "what a checkpoint or converted model holds",
        "  cog-lm info --ckpt out/book\n"
        "  cog-lm info --ckpt released/",
        lm::info_settings{}, [](auto& s, auto const&) { return lm::info(s); });
  p.add("plot", "draw the losses of one or several runs",
        "  cog-lm plot --run out/book\n"
        "  cog-lm plot --run out/cog --run out/softmax --out both.png",
        lm::plot_settings{}, [](auto& s, auto const&) { return lm::plot(s); });
  return p.run(count, arguments);
}
