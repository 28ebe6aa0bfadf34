// What cog makes of files, for the Python scripts beside this one to compare with the reference packages.
//   interop train TEXT VOCAB OUT           learns a tokenizer
//   interop bytes OUT                      writes the byte vocabulary with one special token
//   interop encode TOKENIZER TEXTS OUT     a JSON list of texts to a list of lists of ids
//   interop decode TOKENIZER IDS OUT       and back, as valid UTF-8
//   interop safetensors IN OUT             reads every tensor with its own type, writes it
//   interop npy IN OUT                     the same for one array
#include <cog/cog.hpp>
#include <cog/io/npy.hpp>
#include <cog/io/safetensors.hpp>
#include <cog/io/tokenizer.hpp>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

namespace {

using json = nlohmann::json;
cog::cpu::context const ctx{{.threads = 1}};

json parsed(char const* path) { return json::parse(cog::mapped_file(path).text()); }

void train(char** arg) {
  cog::mapped_file const text(arg[0]);
  cog::tokenizer(cog::train_byte_bpe(text.text(), {.vocab_size = std::stol(arg[1])})).save(arg[2]);
}

void encode(char** arg) {
  auto const tokenizer = cog::tokenizer::load(arg[0]);
  json out = json::array();
  for (auto const& text : parsed(arg[1])) out.push_back(tokenizer.encode(text.get<std::string>()));
  cog::write_file(arg[2], out.dump());
}

void decode(char** arg) {
  auto const tokenizer = cog::tokenizer::load(arg[0]);
  json out = json::array();
  for (auto const& ids : parsed(arg[1]))
    out.push_back(cog::valid_utf8(tokenizer.decode(ids.get<std::vector<std::int32_t>>())));
  cog::write_file(arg[2], out.dump());
}

/// Calls `f.operator()<T, Rank>()` for a type by its safetensors name and a rank up to 4; false when cog has none such.
template <int Rank, class F>
bool with_type(std::string const& dtype, F&& f) {
  if (dtype == "F64") f.template operator()<double, Rank>();
  else if (dtype == "F32") f.template operator()<float, Rank>();
  else if (dtype == "F16") f.template operator()<cog::half, Rank>();
  else if (dtype == "BF16") f.template operator()<cog::bf16, Rank>();
  else if (dtype == "I64") f.template operator()<std::int64_t, Rank>();
  else if (dtype == "I32") f.template operator()<std::int32_t, Rank>();
  else if (dtype == "U8") f.template operator()<std::uint8_t, Rank>();
  else if (dtype == "BOOL") f.template operator()<bool, Rank>();
  else return false;
  return true;
}
template <class F>
bool with_tensor(std::string const& dtype, std::size_t rank, F&& f) {
  if (rank == 0) return with_type<0>(dtype, f);
  if (rank == 1) return with_type<1>(dtype, f);
  if (rank == 2) return with_type<2>(dtype, f);
  if (rank == 3) return with_type<3>(dtype, f);
  return rank == 4 && with_type<4>(dtype, f);
}

void safetensors(char** arg) {
  cog::safetensors_file const file(arg[0]);
  cog::safetensors_writer writer;
  for (auto const& [key, value] : file.metadata()) writer.metadata(key, value);
  for (auto const& name : file.names()) {
    auto const& info = file.info(name);
    if (!with_tensor(info.dtype, info.shape.size(),
                     [&]<class T, int Rank>() { writer.add(name, file.load<T, Rank>(ctx, name)); }))
      writer.add_bytes(name, info.dtype, info.shape, file.bytes(name));
  }
  writer.write(arg[1]);
}

void npy(char** arg) {
  cog::npy_file const file(arg[0]);
  std::string const names[][2] = {{"f8", "F64"}, {"f4", "F32"}, {"f2", "F16"}, {"i8", "I64"},
                                  {"i4", "I32"}, {"u1", "U8"},  {"b1", "BOOL"}};
  std::string dtype;
  for (auto const& [npy, name] : names)
    if (file.info().dtype.substr(1) == npy) dtype = name;
  with_tensor(dtype, file.info().shape.size(), [&]<class T, int Rank>() {
    if constexpr (!std::is_same_v<T, cog::bf16>) cog::save_npy(arg[1], file.load<T, Rank>(ctx));
  });
}

}  // namespace

int main(int count, char** arg) {
  try {
    std::string const command = count > 1 ? arg[1] : "";
    if (command == "train" && count == 5) train(arg + 2);
    else if (command == "bytes" && count == 3) cog::tokenizer(cog::byte_tokenizer({"<|endoftext|>"})).save(arg[2]);
    else if (command == "encode" && count == 5) encode(arg + 2);
    else if (command == "decode" && count == 5) decode(arg + 2);
    else if (command == "safetensors" && count == 4) safetensors(arg + 2);
    else if (command == "npy" && count == 4) npy(arg + 2);
    else return std::fprintf(stderr, "see the head of interop.cpp\n"), 2;
  } catch (std::exception const& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 1;
  }
}
