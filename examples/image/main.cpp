// cog-diffusion: trains small diffusion models with Cog attention (U-ViC) or softmax attention (U-ViT) on any pictures,
// lets them draw, and measures them.
#include "../common/command_line.hpp"
#include "../common/device.hpp"
#include "commands.hpp"

int main(int count, char** arguments) {
  tool::command_line p(
      "cog-diffusion",
      "Trains small diffusion models with Cog or softmax attention, lets them draw, and measures them.",
      "  cog-diffusion train --data shapes --out out/shapes\n"
      "  cog-diffusion sample --ckpt out/shapes --count 48 --out samples");
  p.add("train", "learn from pictures",
        "  cog-diffusion train --data shapes --steps 1000 --out out/shapes\n"
        "  cog-diffusion train --data photos/ --size 64 --attention softmax --out out/photos\n"
        "  cog-diffusion train --out out/shapes --resume auto --steps 4000",
        image::train_settings{}, [](auto& s, auto const& given) {
          return tool::on_target(s.device, s.dtype,
                                 [&]<class B, class T>(tool::target<B, T>) { return image::train<B, T>(s, given); });
        });
  p.add("sample", "draw pictures",
        "  cog-diffusion sample --ckpt out/shapes --count 48\n"
        "  cog-diffusion sample --ckpt out/shapes --class \"red disc\" --guidance 1 --solver ddim --steps 100 --out "
        "discs",
        image::sample_settings{}, [](auto& s, auto const&) {
          return tool::on_target(s.device, s.dtype,
                                 [&]<class B, class T>(tool::target<B, T>) { return image::sample<B, T>(s); });
        });
  p.add("fid", "how far pictures are from real ones: the Frechet distance in the features of a classifier",
        "  cog-diffusion fid --samples samples --reference shapes\n"
        "  cog-diffusion fid --samples cog/samples --samples softmax/samples --reference photos/",
        image::fid_settings{}, [](auto& s, auto const&) {
          return tool::on_target(s.device, "float",
                                 [&]<class B, class T>(tool::target<B, T>) { return image::fid<B>(s); });
        });
  p.add("info", "what a checkpoint or converted model holds", "  cog-diffusion info --ckpt out/shapes",
        image::info_settings{}, [](auto& s, auto const&) { return image::info(s); });
  p.add("plot", "draw the losses of one or several runs",
        "  cog-diffusion plot --run out/cog --run out/softmax --out both.png", image::plot_settings{},
        [](auto& s, auto const&) { return image::plot(s); });
  return p.run(count, arguments);
}
