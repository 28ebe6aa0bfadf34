#include "io_common.hpp"

#include <cog/io/tokenizer.hpp>

#include <thread>

using namespace cog;
using io_test::check_error;
using ids_t = std::vector<std::int32_t>;

namespace {

std::string const golden = COG_GOLDEN_DIR "/tokenizer/";

nlohmann::json reference() { return nlohmann::json::parse(mapped_file(golden + "reference.json").text()); }

std::vector<std::string> pieces(std::string_view text) {
  std::vector<std::string> out;
  detail::for_each_gpt2_piece(text, [&](std::string_view piece) { out.emplace_back(piece); });
  return out;
}

std::string random_bytes(std::mt19937& random, std::size_t most) {
  std::string out(random() % most, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

}  // namespace

TEST_CASE("ids and texts are those of Hugging Face tokenizers", "[tokenizer]") {
  auto const t = tokenizer::load(golden + "tokenizer.json");
  auto const expected = reference();
  for (auto const& entry : expected["encoded"]) {
    auto const text = entry[0].get<std::string>();
    INFO("'" << text << "'");
    CHECK(t.encode(text) == entry[1].get<ids_t>());
    CHECK(t.decode(t.encode(text)) == text);
  }
  for (auto const& entry : expected["decoded"])
    CHECK(valid_utf8(t.decode(entry[0].get<ids_t>())) == entry[1].get<std::string>());
}

TEST_CASE("the merges learnt are those of Hugging Face's trainer, and the file is the same model", "[tokenizer]") {
  auto const expected = tokenizer::load(golden + "tokenizer.json");
  auto const* model = expected.as<byte_bpe>();
  REQUIRE(model);
  auto const learnt = train_byte_bpe(reference()["text"].get<std::string>(), {.vocab_size = 420});
  CHECK(learnt.spellings() == model->spellings());
  REQUIRE(learnt.merges().size() == model->merges().size());
  for (std::size_t i = 0; i < learnt.merges().size(); ++i)
    CHECK(learnt.merges()[i].result == model->merges()[i].result);

  io_test::folder const folder;
  tokenizer(learnt).save(folder / "tokenizer.json");
  auto const ours = nlohmann::json::parse(io_test::read(folder / "tokenizer.json"));
  auto const theirs = nlohmann::json::parse(io_test::read(golden + "tokenizer.json"));
  CHECK(ours["model"]["vocab"] == theirs["model"]["vocab"]);
  CHECK(ours["added_tokens"] == theirs["added_tokens"]);
  CHECK(ours["pre_tokenizer"] == theirs["pre_tokenizer"]);
  CHECK(ours["decoder"]["type"] == theirs["decoder"]["type"]);
}

TEST_CASE("the pattern cuts as GPT-2's does", "[tokenizer]") {
  using list = std::vector<std::string>;
  CHECK(pieces("") == list{});
  CHECK(pieces("It's  we'll") == list{"It", "'s", " ", " we", "'ll"});
  CHECK(pieces("a  ") == list{"a", "  "});
  CHECK(pieces("a \n b") == list{"a", " \n", " b"});
  CHECK(pieces("a\n\nb") == list{"a", "\n", "\n", "b"});
  CHECK(pieces("x1 23!?") == list{"x", "1", " 23", "!?"});
  CHECK(pieces("'S 's") == list{"'", "S", " '", "s"});
  CHECK(pieces("e\u0301t") == list{"e", "\u0301", "t"});
  CHECK(pieces("\u3000\u3000水") == list{"\u3000", "\u3000", "水"});
  CHECK(pieces(" \xff\xfe a\xe6\xb0") == list{" \xff\xfe", " a", "\xe6\xb0"});
}

TEST_CASE("decoding gives back the very bytes", "[tokenizer]") {
  tokenizer const bpe = train_byte_bpe(reference()["text"].get<std::string>(), {.vocab_size = 400});
  tokenizer const bytes = byte_tokenizer({"<|endoftext|>"});
  std::mt19937 random(2);
  for (int i = 0; i < 300; ++i) {
    std::string const text = random_bytes(random, 200);
    CHECK(bpe.decode(bpe.encode(text)) == text);
    CHECK(bytes.decode(bytes.encode(text)) == text);
  }
  std::string const word(1'000'000, 'a');  // one piece
  auto const ids = train_byte_bpe(word, {.vocab_size = 300}).encode(word);
  CHECK(ids.size() < 100);
}

TEST_CASE("special tokens stay whole, unless the text is a stranger's", "[tokenizer]") {
  bpe_options options{.vocab_size = 300, .special_tokens = {"<|endoftext|>", "<|end|>", "<|end|>+"}};
  tokenizer const t = train_byte_bpe("one two one two<|end|>one two", options);
  CHECK(t.id_of("<|endoftext|>") == 0);
  CHECK(t.id_of("<|end|>") == 1);
  CHECK(t.id_of(" two").has_value());
  CHECK_FALSE(t.id_of(" three"));
  CHECK(t.id_of("a") == 3 + 'a' - '!');
  CHECK(t.is_special(1));
  CHECK_FALSE(t.is_special(5));
  CHECK(t.encode("<|end|>") == ids_t{1});
  CHECK(t.encode("<|end|>+<|end|><|end") == [&] {
    ids_t out{2, 1};
    for (auto id : t.encode("<|end")) out.push_back(id);
    return out;
  }());
  auto const plain = t.encode_ordinary("<|end|>");
  CHECK(plain.size() > 1);
  CHECK(t.decode(plain) == "<|end|>");
  CHECK(t.decode(ids_t{0, 1}) == "<|endoftext|><|end|>");

  tokenizer const b = byte_tokenizer({"<s>", "水"});
  CHECK(b.vocab_size() == 258);
  CHECK(b.encode("a<s>水\xff") == ids_t{'a', 256, 257, 255});
  CHECK(b.encode_ordinary("<s>") == ids_t{'<', 's', '>'});
  CHECK(b.id_of("水") == 257);
  CHECK(b.id_of("a") == 'a');
  CHECK_FALSE(b.id_of("ab"));
  CHECK((b.is_special(256) && !b.is_special(255)));
}

TEST_CASE("a tokenizer is what was saved", "[tokenizer]") {
  io_test::folder const folder;
  auto const path = folder / "tokenizer.json";
  auto const again = [&](tokenizer const& t) {
    t.save(path);
    auto const back = tokenizer::load(path);
    CHECK(back.vocab_size() == t.vocab_size());
    for (std::int32_t id = 0; id < t.vocab_size(); ++id) {
      CHECK(back.bytes_of(id) == t.bytes_of(id));
      CHECK(back.is_special(id) == t.is_special(id));
    }
    std::string const text = reference()["text"].get<std::string>() + "<|endoftext|>日本\xff";
    CHECK(back.encode(text) == t.encode(text));
    return back;
  };
  CHECK(again(byte_tokenizer()).as<byte_tokenizer>());
  CHECK(again(byte_tokenizer({"<|endoftext|>", "日本", "éa"})).as<byte_tokenizer>());
  bpe_options const odd{.vocab_size = 330, .special_tokens = {"日本", "éa", "\"\\"}};
  CHECK(again(train_byte_bpe(reference()["text"].get<std::string>(), odd)).as<byte_bpe>());
  CHECK(again(train_byte_bpe("", {.vocab_size = 256, .special_tokens = {}})).as<byte_tokenizer>() == nullptr);
}

TEST_CASE("both forms of merges are read, and ignore_merges", "[tokenizer]") {
  auto text = io_test::read(golden + "tokenizer.json");
  auto json = nlohmann::json::parse(text);
  auto const t = std::get<byte_bpe>(tokenizer_from_json(text, "pairs"));
  for (auto& merge : json["model"]["merges"]) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  auto const u = std::get<byte_bpe>(tokenizer_from_json(json.dump(), "strings"));
  CHECK(u.encode("the attention of the weights") == t.encode("the attention of the weights"));

  auto const whole = t.id_of(" attention");
  REQUIRE(whole);
  json["model"]["merges"].clear();
  json["model"]["ignore_merges"] = true;
  CHECK(std::get<byte_bpe>(tokenizer_from_json(json.dump(), "whole")).encode(" attention") == ids_t{*whole});
}

TEST_CASE("text comes out of a stream as it becomes whole", "[tokenizer]") {
  text_stream stream(byte_tokenizer({"<|endoftext|>"}));
  std::string out;
  std::vector<std::size_t> sizes;
  for (unsigned char c : std::string("aé水🦊\xff\xe6\xb0z")) {
    auto const part = stream.push(c);
    sizes.push_back(part.size());
    out += part;
  }
  CHECK(stream.push(256).empty());
  CHECK(out == "aé水🦊\ufffd\ufffdz");
  CHECK(sizes == std::vector<std::size_t>{1, 0, 2, 0, 0, 3, 0, 0, 0, 4, 3, 0, 0, 4});
  stream.push(0xf0);
  stream.push(0x9f);
  CHECK(stream.finish() == "\ufffd");
  CHECK(text_stream(byte_tokenizer({"<s>"}), true).push(256) == "<s>");

  // Unicode's own example (table 3-8) of what is replaced together
  CHECK(valid_utf8("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64") ==
        "a\ufffd\ufffd\ufffdb\ufffdc\ufffd\ufffd" "d");
  CHECK(valid_utf8("\xed\xa0\x80\xc0\xaf\xf4\x90\x80\x80") == "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd");
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {  // however it is cut
    std::string const bytes = random_bytes(random, 60);
    utf8_stream pieces;
    std::string joined;
    for (std::size_t at = 0; at < bytes.size();) {
      auto const n = 1 + random() % 4;
      joined += pieces.push(std::string_view(bytes).substr(at, n));
      at += n;
    }
    CHECK(joined + pieces.finish() == valid_utf8(bytes));
    CHECK(valid_utf8(joined) == joined);
  }
}

namespace {
/// A vocabulary of the user's own, as the one of SentencePiece: a text is more than the sum of its tokens.
struct words {
  index_t vocab_size() const { return 2; }
  ids_t encode(std::string_view) const { return {0, 1}; }
  ids_t encode_ordinary(std::string_view) const { return {0, 1}; }
  std::string bytes_of(std::int32_t id) const { return id ? " world" : " hello"; }
  std::optional<std::int32_t> id_of(std::string_view) const { return std::nullopt; }
  bool is_special(std::int32_t) const { return false; }
  std::string decode(std::span<std::int32_t const> ids) const {
    std::string out;
    for (auto id : ids) out += bytes_of(id);
    return out.substr(std::min<std::size_t>(out.size(), 1));
  }
};
}  // namespace

TEST_CASE("a tokenizer holds a type of the user's", "[tokenizer]") {
  tokenizer const t = words();
  CHECK(t.decode(t.encode("")) == "hello world");
  CHECK(t.as<words>());
  CHECK_FALSE(t.as<byte_bpe>());
  check_error([&] { t.save("/nowhere"); }, {"not written as tokenizer.json"});
}

TEST_CASE("a tokenizer.json that would give other ids is refused, naming the file", "[tokenizer]") {
  io_test::folder const folder;
  auto const path = folder / "bad.json";
  auto const good = nlohmann::json::parse(io_test::read(golden + "tokenizer.json"));
  std::string const start = "tokenizer " + path.string() + ": ";
  auto const refused = [&](std::function<void(nlohmann::json&)> const& change, io_test::parts_t parts) {
    auto json = good;
    change(json);
    io_test::write(path, json.dump());
    check_error([&] { tokenizer::load(path); }, parts);
    check_error([&] { tokenizer::load(path); }, {start});
  };
  check_error([&] { tokenizer::load(folder / "absent"); }, {"cannot open", "absent"});
  refused([](auto& j) { j = 3; }, {"not a JSON object"});
  refused([](auto& j) { j.erase("model"); }, {"model is not a JSON object"});
  refused([](auto& j) { j["model"]["type"] = "Unigram"; }, {"model is \"Unigram\""});
  refused([](auto& j) { j["model"]["type"] = 7; }, {"model is 7"});
  refused([](auto& j) { j["normalizer"] = {{"type", "NFC"}}; }, {"normalizer", "NFC"});
  refused([](auto& j) { j["pre_tokenizer"]["add_prefix_space"] = true; }, {"pre_tokenizer"});
  refused([](auto& j) { j["pre_tokenizer"]["use_regex"] = false; }, {"pre_tokenizer"});
  refused([](auto& j) { j["pre_tokenizer"] = nullptr; }, {"pre_tokenizer null"});
  refused([](auto& j) { j["decoder"] = nullptr; }, {"decoder null"});
  refused([](auto& j) { j["model"]["dropout"] = 0.1; }, {"dropout"});
  refused([](auto& j) { j["model"]["byte_fallback"] = true; }, {"byte_fallback"});
  refused([](auto& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, {"end_of_word_suffix"});
  refused([](auto& j) { j["model"]["vocab"] = 1; }, {"model.vocab is not a JSON object"});
  refused([](auto& j) { j["model"]["vocab"]["a"] = 0; }, {"have the same id 0"});
  refused([](auto& j) { j["model"]["vocab"]["a"] = -1; }, {"token 'a' has the id -1"});
  refused([](auto& j) { j["model"]["vocab"]["a"] = 4000000000u; }, {"token 'a' has the id 4000000000"});
  refused([](auto& j) { j["model"]["vocab"]["a"] = "x"; }, {"token 'a' has the id \"x\""});
  refused([](auto& j) { j["model"]["merges"][3] = "one"; }, {"merge 3 is \"one\", not two tokens"});
  refused([](auto& j) { j["model"]["merges"][3] = "a b c"; }, {"merge 3 is \"a b c\""});
  refused([](auto& j) { j["model"]["merges"][3] = {"Q", "zz"}; }, {"merge 3", "'zz' is not in the vocabulary"});
  refused([](auto& j) { j["model"]["merges"][3] = {"Q", "Z"}; }, {"merge 3", "'QZ' is not in the vocabulary"});
  refused([](auto& j) { j["model"]["merges"] = nullptr; }, {"merges is not a JSON array"});
  refused([](auto& j) { j["added_tokens"][0]["lstrip"] = true; }, {"'<|endoftext|>': lstrip is not supported"});
  refused([](auto& j) { j["added_tokens"][0]["id"] = 5; }, {"id 5 is both"});
  refused([](auto& j) { j["added_tokens"][0].erase("content"); }, {"has no content"});
  refused([](auto& j) { j["added_tokens"].push_back(j["added_tokens"][0]); }, {"'<|endoftext|>' is given twice"});
  refused([](auto& j) { j["added_tokens"][0]["content"] = ""; }, {"is empty"});

  io_test::write(path, "{\"model\": ");
  check_error([&] { tokenizer::load(path); }, {path.string(), "parse error"});
  check_error([] { train_byte_bpe("", {.vocab_size = 256}); }, {"cannot hold 256 bytes and 1 special tokens", "257"});
  check_error([] { tokenizer(byte_tokenizer()).bytes_of(256); }, {"token 256 is outside"});
  check_error([] { tokenizer(train_byte_bpe("")).bytes_of(-1); }, {"token -1 is not in"});
  check_error([] { byte_tokenizer({"<s>", "<s>"}); }, {"'<s>' is given twice"});
  check_error([] { byte_tokenizer({"<s>", "é"}); }, {"'é' is how the vocabulary spells a byte"});
  check_error([] { train_byte_bpe("", {.special_tokens = {"é"}}); }, {"'é' is how the vocabulary spells another byte"});
  check_error([] { train_byte_bpe("", {.special_tokens = {"a"}}); }, {"'a' occurs twice"});

  auto without = good;  // a vocabulary need not have every byte, until one is met
  without["model"]["vocab"].erase("\u00ff");
  CHECK_NOTHROW(tokenizer_from_json(without.dump(), "x"));
  check_error([&] { std::get<byte_bpe>(tokenizer_from_json(without.dump(), "x")).encode("\xff"); },
              {"no token for the byte 255"});
}

TEST_CASE("a damaged tokenizer.json gives an error or a tokenizer, never worse", "[tokenizer]") {
  tokenizer const t = train_byte_bpe("one two one two", {.vocab_size = 265});
  std::string const whole = to_json(*t.as<byte_bpe>());
  auto const survives = [&](std::string const& text) {
    try {
      std::visit([](auto const& model) { static_cast<void>(model.encode("one two <|endoftext|> three\xff")); },
                 tokenizer_from_json(text, "damaged"));
      return true;
    } catch (error const&) {
      return false;
    }
  };
  REQUIRE(survives(whole));
  for (std::size_t n = 0; n + 1 < whole.size(); n += 1 + n / 50) CHECK_FALSE(survives(whole.substr(0, n)));
  std::mt19937 random(4);
  for (int i = 0; i < 400; ++i) {
    std::string text = whole;
    text[random() % text.size()] ^= static_cast<char>(1u << random() % 8);
    if (i % 2) text[random() % text.size()] = "0123456789,:[]{}\" "[random() % 18];
    survives(text);
  }
}

TEST_CASE("threads share a tokenizer", "[tokenizer]") {
  auto const t = tokenizer::load(golden + "tokenizer.json");
  auto const text = reference()["text"].get<std::string>();
  auto const expected = t.encode(text);
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) right += t.encode(text) == expected && t.decode(expected) == text;
    });
  for (auto& thread : threads) thread.join();
  CHECK(right == 80);
}
