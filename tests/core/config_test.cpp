#include "core/config.h"

#include <doctest/doctest.h>

#include <functional>
#include <limits>

#include "tests/core/message_of.h"
#include "tests/core/temporary_folder.h"

using namespace segrt;

namespace {
constexpr const char* kExample = R"(# a comment
seed = 7
name = "city"

[train]
lr = 0.01
crop = [256, 512]
scales = [0.5, 1, 2.0]
nesterov = true
kinds = ["a", "b c"]
optimizer = "sgd"

[[train.stage]]
epochs = 3
[[train.stage]]
epochs = 5
lr = 0.001
)";

Config example(const std::vector<std::string>& overrides = {}) {
  return Config::parse(kExample, "models/x.toml", overrides);
}
}  // namespace

TEST_CASE("config: every type is read") {
  const Config cfg = example();
  CHECK(cfg.integer("seed") == 7);
  CHECK(cfg.integer32("seed") == 7);
  CHECK(cfg.number("seed") == 7.0);  // an integer is a number
  CHECK(cfg.text("name") == "city");
  CHECK(cfg.path("name") == "city");
  CHECK(cfg.number("train.lr", {.min = 0, .max = 1}) == 0.01);
  CHECK(cfg.integers("train.crop", {.min = 1, .count = 2}) == std::vector<int64_t>{256, 512});
  CHECK(cfg.numbers("train.scales") == std::vector<double>{0.5, 1.0, 2.0});
  CHECK(cfg.boolean("train.nesterov"));
  CHECK(cfg.texts("train.kinds") == std::vector<std::string>{"a", "b c"});
  CHECK(cfg.choice("train.optimizer", {"adamw", "sgd"}) == "sgd");
  CHECK(cfg.name() == "models/x.toml");
}

TEST_CASE("config: fallbacks stand in for absent keys only") {
  const Config cfg = example();
  CHECK(cfg.number("train.momentum", {.fallback = 0.9}) == 0.9);
  CHECK(cfg.number("train.lr", {.fallback = 5}) == 0.01);
  CHECK(cfg.integer("a.b.c", {.fallback = -3}) == -3);
  CHECK_FALSE(cfg.boolean("flag", {.fallback = false}));
  CHECK(cfg.text("word", {.fallback = ""}).empty());
  CHECK(cfg.choice("kind", {"a", "b"}, {.fallback = "b"}) == "b");
  CHECK(cfg.numbers("list", {.fallback = std::vector{1.0, 2.5}}) == std::vector<double>{1.0, 2.5});
  CHECK(cfg.texts("words", {.fallback = std::vector<std::string>{}}).empty());
}

TEST_CASE("config: type and range errors name file, line, key, expected and got") {
  const Config cfg = example();
  auto error = [&](auto&& read) { return message_of<ConfigError>([&] { read(); }); };
  CHECK(error([&] { cfg.number("name", {.above = 0}); }) ==
        "models/x.toml:3: name: expected a number > 0, got \"city\"");
  CHECK(error([&] { cfg.number("train.lr", {.min = 0.1, .below = 1}); }) ==
        "models/x.toml:6: train.lr: expected a number >= 0.1 and < 1, got 0.01");
  CHECK(error([&] { cfg.integer("train.lr"); }) == "models/x.toml:6: train.lr: expected an integer, got 0.01");
  CHECK(error([&] { cfg.integer("seed", {.min = 8, .max = 9}); }) ==
        "models/x.toml:2: seed: expected an integer >= 8 and <= 9, got 7");
  CHECK(error([&] { cfg.boolean("seed"); }) == "models/x.toml:2: seed: expected true or false, got 7");
  CHECK(error([&] { cfg.text("train"); }) == "models/x.toml:5: train: expected a text, got a table");
  CHECK(error([&] {
          cfg.choice("train.optimizer", {"adamw", "lamb"});
        }) == "models/x.toml:11: train.optimizer: expected one of adamw, lamb, got \"sgd\"");
  CHECK(error([&] { cfg.integers("train.crop", {.count = 3}); }) ==
        "models/x.toml:7: train.crop: expected a list of 3 integers, got [256, 512]");
  CHECK(error([&] { cfg.integers("train.scales", {.min = 1}); }) ==
        "models/x.toml:8: train.scales: expected a list of integers >= 1, got [0.5, 1, 2.0]");
  CHECK(error([&] { cfg.numbers("train.kinds"); }) ==
        "models/x.toml:10: train.kinds: expected a list of numbers, got [\"a\", \"b c\"]");
  CHECK(error([&] { cfg.texts("name"); }) == "models/x.toml:3: name: expected a list of texts, got \"city\"");
  CHECK(error([&] { cfg.number("train.lr.base", {.fallback = 1}); }) ==
        "models/x.toml:6: train.lr: expected a table, got 0.01");
  CHECK(error([&] { cfg.table("seed"); }) == "models/x.toml:2: seed: expected a table, got 7");
  CHECK(error([&] { cfg.tables("train.crop"); }) ==
        "models/x.toml:7: train.crop: expected a list of tables, got [256, 512]");
  CHECK(error([&] { cfg.integer("data.batch", {.min = 1}); }) ==
        "models/x.toml: data.batch: expected an integer >= 1, but the key is missing");
  CHECK(error([&] { throw cfg.error("train.crop", "multiples of 8", "250"); }) ==
        "models/x.toml:7: train.crop: expected multiples of 8, got 250");
}

TEST_CASE("config: a missing key points at its misspelling") {
  const Config cfg = Config::parse("[train]\nepohcs = 3\n", "x.toml");
  CHECK(message_of<ConfigError>([&] { cfg.integer("train.epochs"); }) ==
        "x.toml: train.epochs: expected an integer, but the key is missing; x.toml:2 has train.epohcs");
}

TEST_CASE("config: numbers must be finite and fit") {
  const Config cfg =
      Config::parse("a = inf\nb = nan\nc = 2147483648\nd = -9223372036854775808\ne = 0xff\nf = 1_0.5_0\n", "x");
  CHECK_THROWS_AS(cfg.number("a"), ConfigError);
  CHECK_THROWS_AS(cfg.number("b"), ConfigError);
  CHECK(message_of<ConfigError>([&] { cfg.integer32("c", {.min = 0}); }) ==
        "x:3: c: expected an integer >= 0 and <= 2147483647, got 2147483648");
  CHECK(cfg.integer("c") == int64_t{1} << 31);
  CHECK(cfg.integer("d") == std::numeric_limits<int64_t>::min());
  CHECK(cfg.integer("e") == 255);
  CHECK(cfg.number("f") == 10.5);
  CHECK(message_of<ConfigError>([] { Config::parse("a = 1\nseed = 9223372036854775808\n", "x"); }) ==
        "x:2: 9223372036854775808 does not fit 64 bits");
  CHECK_THROWS_AS(Config::parse("a = 0x8000000000000000\n", "x"), ConfigError);
  CHECK_THROWS_AS(Config::parse("a = 1e999\n", "x"), ConfigError);
}

TEST_CASE("config: an unknown key is an error that names the nearest known key") {
  auto unused = [](const char* toml, const std::vector<std::string>& overrides = {}) {
    const Config cfg = Config::parse(toml, "models/x.toml", overrides);
    cfg.number("train.lr", {.fallback = 0.1});
    cfg.number("train.momentum", {.fallback = 0.9});
    cfg.integer("seed", {.fallback = 1});
    for (const Config& stage : cfg.tables("train.stage")) stage.integer("epochs", {.fallback = 1});
    return message_of<ConfigError>([&] { cfg.check_unused(); });
  };
  CHECK(unused("seed = 1\n[train]\nlr = 1\n") == "");
  CHECK(unused("[train]\n\nlrr = 1\n") == "models/x.toml:3: train.lrr is not a known key; did you mean train.lr?");
  CHECK(unused("lr = 1\n") == "models/x.toml:1: lr is not a known key; did you mean train.lr?");
  CHECK(unused("\n[trian]\nlr = 1\n") == "models/x.toml:2: trian is not a known key; did you mean train?");
  CHECK(unused("[[train.stage]]\n[[train.stage]]\nepoch = 1\n") ==
        "models/x.toml:3: train.stage[1].epoch is not a known key; did you mean train.stage[1].epochs?");
  CHECK(unused("[train]\nnothing_like_it = 1\n") ==
        "models/x.toml:2: train.nothing_like_it is not a known key; known beside it: train.lr, train.momentum, "
        "train.stage");
  CHECK(unused("a1 = 1\nb2 = 2\n[train.deep]\nx = 1\n").find('\n') != std::string::npos);  // all of them at once
  CHECK(unused("", {"train.lrr=0.02"}) == "--set train.lrr=0.02: train.lrr is not a known key; did you mean train.lr?");
  CHECK(unused("", {"sede=3", "train.lr=2"}) == "--set sede=3: sede is not a known key; did you mean seed?");
}

TEST_CASE("config: views, has, keys and ignore") {
  const Config cfg = example();
  CHECK(cfg.has("train"));
  CHECK(cfg.has("train.lr"));
  CHECK_FALSE(cfg.has("train.wd"));
  CHECK_FALSE(cfg.has("model.name"));
  const Config train = cfg.table("train");
  CHECK(train.number("lr") == 0.01);
  CHECK(train.keys() == std::vector<std::string>{"crop", "kinds", "lr", "nesterov", "optimizer", "scales", "stage"});
  CHECK(message_of<ConfigError>([&] { train.integer("lr"); }) ==
        "models/x.toml:6: train.lr: expected an integer, got 0.01");
  const std::vector<Config> stages = train.tables("stage");
  REQUIRE(stages.size() == 2);
  CHECK(stages[0].integer("epochs") == 3);
  CHECK(stages[1].integer("epochs") == 5);
  CHECK(stages[1].number("lr", {.fallback = 1}) == 0.001);
  CHECK(message_of<ConfigError>([&] { stages[0].number("lr"); }) ==
        "models/x.toml: train.stage[0].lr: expected a number, but the key is missing");
  CHECK(cfg.tables("nothing").empty());
  const Config absent = cfg.table("model");
  CHECK(absent.integer("depth", {.fallback = 22}) == 22);
  CHECK(absent.keys().empty());
  CHECK_NOTHROW(absent.check_unused());
  CHECK_THROWS_AS(train.check_unused(), ConfigError);
  train.ignore("crop");
  for (const char* key : {"kinds", "nesterov", "optimizer", "scales"}) CHECK(train.has(key));
  CHECK_NOTHROW(train.check_unused());
  CHECK_THROWS_AS(cfg.check_unused(), ConfigError);  // seed, name
  cfg.ignore("seed");
  cfg.ignore("name");
  CHECK_NOTHROW(cfg.check_unused());
}

TEST_CASE("config: overrides are TOML values, else words") {
  const Config cfg =
      example({"train.lr=0.02", "name = oslo", "data.root=/data/a b#c", "train.crop=[8, 16]", "n=-3", "quoted=\"0.5\"",
               "day=2024-05-01", "empty=", "expr=a=b", "seed=1", "seed=2", "model={depth = 22}"});
  CHECK(cfg.number("train.lr") == 0.02);
  CHECK(cfg.text("name") == "oslo");
  CHECK(cfg.path("data.root") == "/data/a b#c");
  CHECK(cfg.integers("train.crop") == std::vector<int64_t>{8, 16});
  CHECK(cfg.integer("n") == -3);
  CHECK(cfg.text("quoted") == "0.5");
  CHECK(cfg.text("day") == "2024-05-01");
  CHECK(cfg.text("empty").empty());
  CHECK(cfg.text("expr") == "a=b");
  CHECK(cfg.integer("seed") == 2);  // the last one wins
  CHECK(cfg.integer("model.depth") == 22);
  CHECK(message_of<ConfigError>([] { example({"train.lr=fast"}).number("train.lr", {.above = 0}); }) ==
        "--set train.lr=fast: train.lr: expected a number > 0, got \"fast\"");
  CHECK(message_of<ConfigError>([] { example({"train.lr.x=1"}); }) ==
        "--set train.lr.x=1: train.lr is no table but 0.01 (models/x.toml:6)");
  CHECK_THROWS_AS(example({"train.stage.epochs=1"}), ConfigError);
  for (const char* bad : {"train.lr", "=1", "a..b=1", ".a=1", "a b=1", "", "a=[1,", "a=\"x", "a=99999999999999999999"})
    CHECK_THROWS_AS(example({bad}), ConfigError);
  // A line break must not smuggle in a second key.
  CHECK(example({"a=1\nb=2"}).text("a") == "1\nb=2");
}

TEST_CASE("config: the effective configuration reads back to the same values") {
  auto read = [](const Config& cfg) {
    std::vector<double> values{cfg.number("train.lr"), cfg.number("train.momentum", {.fallback = 1.0 / 3}),
                               cfg.number("train.tiny", {.fallback = 1e-320}),
                               cfg.number("train.big", {.fallback = 1e300}), static_cast<double>(cfg.integer("seed"))};
    for (const Config& stage : cfg.tables("train.stage")) {
      values.push_back(static_cast<double>(stage.integer("epochs")));
      values.push_back(stage.number("lr", {.fallback = 0.5}));
    }
    return values;
  };
  auto words = [](const Config& cfg) {
    std::vector<std::string> w = cfg.texts("train.kinds");
    w.push_back(cfg.text("name"));
    w.push_back(cfg.text("note", {.fallback = "a \"b\"\\\n\t\x01 \xc3\xa9"}));
    w.push_back(cfg.text("labels.traffic light", {.fallback = "x"}));
    cfg.numbers("list", {.fallback = std::vector<double>{}});
    return w;
  };
  const Config first = example({"train.lr=0.02", "name=oslo"});
  const auto values = read(first);
  const auto texts = words(first);
  const std::string saved = first.to_toml();
  const Config second = Config::parse(saved, "saved");
  for (const char* key : {"train.momentum", "note", "labels.traffic light", "list"}) CHECK(second.has(key));
  CHECK(second.tables("train.stage").at(0).has("lr"));
  CHECK(read(second) == values);
  CHECK(words(second) == texts);
  CHECK(second.to_toml() == saved);
  CHECK(Config::parse("b = 1\na = 2\n[c]\n", "x").to_toml() == "a = 2\nb = 1\n\n[c]\n");
  CHECK(Config::parse("x = [{a = 1}, 3]\ny = 3.0\nz = 1e-7\n", "x").to_toml() ==
        "x = [{a = 1}, 3]\ny = 3.0\nz = 1e-07\n");
}

TEST_CASE("config: fallbacks that could not be read back are refused") {
  const Config cfg = example();
  CHECK_THROWS_AS(cfg.number("x", {.fallback = 0, .above = 0}), ArgumentError);
  CHECK_THROWS_AS(cfg.number("x", {.fallback = std::numeric_limits<double>::infinity()}), ArgumentError);
  CHECK_THROWS_AS(cfg.choice("x", {"a"}, {.fallback = "b"}), ArgumentError);
  CHECK(cfg.number("y", {.fallback = 1}) == 1);
  CHECK(cfg.number("y", {.fallback = 1}) == 1);
  CHECK_THROWS_AS(cfg.number("y", {.fallback = 2}), ArgumentError);
}

TEST_CASE("config: TOML faults name file and line") {
  auto error = [](const std::string& toml) {
    return message_of<ConfigError>([&] { Config::parse(toml, "m/x.toml"); });
  };
  CHECK(error("a = 1\n\na = 2\n").starts_with("m/x.toml:3: value (\"a\") already exists"));
  CHECK(error("a = 1\n\na = 2\n").ends_with("(see line 1)"));
  CHECK(error("[t]\nx = 1\n[t]\ny = 2\n").starts_with("m/x.toml:3: table (\"t\") already exists"));
  CHECK(error("a = 1\nb = fast\n") == "m/x.toml:2: not a TOML value (text needs quotes)");
  CHECK(error("ok = 1\na = 1 b = 2\n").starts_with("m/x.toml:2: "));
  CHECK(error("a = [1,2\nb=3\n").starts_with("m/x.toml:"));
  CHECK(error("a = \"x\xff\"\n").starts_with("m/x.toml:1: "));
  CHECK(error("\"a.b\" = 1\n").starts_with("m/x.toml:1: "));
  for (const char* bad : {"a", "= 3", "a = ", "[a\n", "a = 007", "a = 1.", "\"\" = 1", "a = '\n'", "a = \"\\q\""}) {
    CAPTURE(bad);
    CHECK(error(bad).starts_with("m/x.toml:1: "));
    CHECK(error(bad).find('\n') == std::string::npos);
  }
  CHECK(error("") == "");
  CHECK(error("a = 1\r\nb = 2\r\n") == "");
  CHECK(error("\xef\xbb\xbf"
              "a = 12345\n") == "");
}

TEST_CASE("config: depth and size are bounded") {
  auto refuse = [](const std::string& toml) { CHECK_THROWS_AS(Config::parse(toml, "x"), ConfigError); };
  refuse("a = " + std::string(100000, '['));
  refuse("a = " + std::string(100, '[') + std::string(100, ']'));
  refuse("a = [\"]\", " + std::string(100, '[') + "'''\n''' " + std::string(100, ']') + "]");
  refuse("a = [\"\"\"x\"\"\"\", " + std::string(100, '[') + std::string(100, ']') + "]");
  std::string dotted = "a";
  for (int i = 0; i < 5000; ++i) dotted += ".a";
  refuse(dotted + " = 1\n");
  refuse("[" + dotted + "]\n");
  refuse("a = \"" + std::string(2 << 20, 'x') + "\"");
  CHECK_NOTHROW(Config::parse("a = " + std::string(20, '[') + std::string(20, ']'), "x"));
  std::string decimals = "a = [0.5";
  for (int i = 0; i < 200; ++i) decimals += ", 0.25";
  CHECK(Config::parse(decimals + "]\nb = \"" + std::string(300, '.') + std::string(300, '[') + "\"", "x")
            .numbers("a")
            .size() == 201);
}

TEST_CASE("config: files") {
  const TemporaryFolder folder;
  const std::string path = folder / "a.toml";
  write_file_bytes(path, kExample);
  const std::vector<std::string> overrides{"seed=9"};
  CHECK(Config::load(path, overrides).integer("seed") == 9);
  CHECK(Config::load(path).integer("seed") == 7);
  CHECK(message_of<FileError>([&] { Config::load(path + "x"); }) == path + "x: cannot open: No such file or directory");
  CHECK_THROWS_AS(Config::load(folder.path()), FileError);
}
