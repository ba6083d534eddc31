// Chat templates of published models, against what transformers makes of them, and templates that mean harm.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "base/json.h"

namespace cria::text {
namespace {

namespace fs = std::filesystem;

std::string file_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// NAME.jinja beside NAME.json, in all folders of fixtures.
std::vector<fs::path> templates() {
  std::vector<fs::path> folders = {fs::path(CRIA_SOURCE_DIR) / ".." / "shared" / "data" / "chat",
                                   fs::path(CRIA_SOURCE_DIR) / "tests" / "golden" / "chat"};
  std::istringstream more(std::getenv("CRIA_FIXTURES") != nullptr ? std::getenv("CRIA_FIXTURES") : "");
  for (std::string folder; std::getline(more, folder, ':');) folders.push_back(fs::path(folder) / "chat");
  std::set<fs::path> found;
  for (const fs::path& folder : folders) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.path().extension() == ".jinja") found.insert(entry.path());
    }
  }
  return {found.begin(), found.end()};
}

std::vector<ChatMessage> messages_of(const Json& conversation) {
  std::vector<ChatMessage> messages;
  for (const Json& message : conversation.at("messages"))
    messages.push_back({message.at("role"), message.at("content")});
  return messages;
}

TEST(ChatTemplate, ConversationsAreWhatTransformersMakesOfThem) {
  for (const fs::path& path : templates()) {
    SCOPED_TRACE(path.filename());
    fs::path cases = path;
    const auto conversations = parse_json(file_text(cases.replace_extension(".json")), "cases").value();
    for (size_t i = 0; i < conversations.size(); ++i) {
      SCOPED_TRACE(i);
      const Json& conversation = conversations[i];
      ChatTemplate::Variables variables;
      for (const char* key : {"bos_token", "eos_token", "date_string"}) variables[key] = conversation.at(key);
      const auto chat = ChatTemplate::parse(file_text(path), variables, path.filename().string());
      ASSERT_TRUE(chat) << chat.error().message();
      const auto text = chat->render(messages_of(conversation), conversation.at("add_generation_prompt"));
      if (conversation.contains("error")) {
        ASSERT_FALSE(text) << *text;
        EXPECT_EQ(text.error().code(), ErrorCode::kInvalidInput);
      } else {
        ASSERT_TRUE(text) << text.error().message();
        if (conversation.value("uses_today", false)) continue;
        EXPECT_EQ(*text, conversation.at("text").get<std::string>());
      }
    }
  }
}

TEST(ChatTemplate, WhatATemplateRaisesIsTheMessage) {
  const auto chat = ChatTemplate::parse(*ChatTemplate::builtin("llama2"), {}, "llama2").value();
  const auto text = chat.render(std::vector<ChatMessage>{{"assistant", "a"}}, true);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().message(),
            "the chat template refuses this conversation: roles must alternate (while applying llama2)");
}

TEST(ChatTemplate, BuiltinOnesAreThoseOfTheFixtures) {
  for (const char* name : {"chatml", "zephyr", "llama2"}) {
    const fs::path path = fs::path(CRIA_SOURCE_DIR) / "tests" / "golden" / "chat" / (std::string(name) + ".jinja");
    EXPECT_EQ(ChatTemplate::builtin(name), file_text(path));
  }
  EXPECT_FALSE(ChatTemplate::builtin("other"));
  EXPECT_EQ(ChatTemplate::builtin_names(), "chatml, zephyr, llama2");
}

std::string rendered(const std::optional<ChatTemplate>& chat) {
  return chat ? chat->render(std::vector<ChatMessage>{{"user", "x"}}, true).value() : "(none)";
}

TEST(ChatTemplate, IsFoundInTheFilesOfAModel) {
  const auto from = [](std::string_view own, std::string_view config) {
    auto chat = ChatTemplate::from_files(own, config, "model");
    EXPECT_TRUE(chat) << chat.error().message();
    return chat ? rendered(*chat) : "(error)";
  };
  EXPECT_EQ(from("", ""), "(none)");
  EXPECT_EQ(from("", R"({"bos_token": "<s>"})"), "(none)");
  EXPECT_EQ(from("", R"({"bos_token": "<s>", "chat_template": "{{ bos_token }}1"})"), "<s>1");
  EXPECT_EQ(from("", R"({"bos_token": {"content": "<b>"}, "chat_template": "{{ bos_token }}1"})"), "<b>1");
  EXPECT_EQ(
      from("", R"({"chat_template": [{"name": "tool_use", "template": "1"}, {"name": "default", "template": "2"}]})"),
      "2");
  EXPECT_EQ(from("{{ eos_token }}3", R"({"eos_token": "</s>", "chat_template": "1"})"), "</s>3");
}

TEST(ChatTemplate, FilesThatAreWrongAreRefused) {
  const auto refuses = [](std::string_view own, std::string_view config, std::string_view phrase) {
    const auto chat = ChatTemplate::from_files(own, config, "model");
    ASSERT_FALSE(chat);
    EXPECT_NE(chat.error().message().find(phrase), std::string::npos) << chat.error().message();
  };
  refuses("", "[]", "model/tokenizer_config.json: is not a JSON object");
  refuses("", R"({"chat_template": 1})", "neither a string nor a list");
  refuses("", R"({"chat_template": [1]})", "\"chat_template\" lists 1");
  refuses("", R"({"chat_template": [{"name": "a"}]})", "lacks its name or text");
  refuses("", R"({"chat_template": [{"name": "a", "template": ""}]})", "is named \"default\" (there are: a)");
  refuses("{{", "", "model/chat_template.jinja: the chat template: line 1: an expression \"{{\" is not closed");
  refuses("\xff", "", "is not valid UTF-8 at byte 0");
  refuses(std::string(300'000, 'a'), "", "a chat template of 300,000 bytes is longer than 262,144");
  refuses("\n{% include 'x' %}", "", "line 2: the block \"include\" is not supported");
}

std::string repeated(std::string_view part, size_t times) {
  std::string text;
  for (size_t i = 0; i < times; ++i) text += part;
  return text;
}

/// Each is refused, or rendered to a text of bounded length, in bounded time.
TEST(ChatTemplate, HarmfulOnesComeToAnEnd) {
  const std::vector<std::string> sources = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
      "{{ range(10**18)|length }}",
      "{{ range(-9223372036854775807, 9223372036854775807, 9223372036854775807) }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(x) %}{{ caller() if x else '' }}{% call m(x) %}{{ m(x) }}{% endcall %}{% endmacro %}{{ m(1) }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      "{{ 'x' * 100000000000 }}",
      "{{ [1] * 9223372036854775807 }}",
      "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "{% set ns = namespace(x=[1,2]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
      "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == "
      "ns.x }}",
      "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
      "{{ 'a'.split('') }}",
      "{{ 'aaaa'.replace('', 'b' * 1000000) }}",
      "{{ ('a' * 1000000).replace('a', 'b' * 1000) }}",
      "{{ ('a' * 1000000).find('a' * 500000 ~ 'b') }}",
      "{{ 1 % 0 }}",
      "{{ 1 // 0 }}",
      "{{ 1 / 0 }}",
      "{{ 0.0 ** -1 }}",
      "{{ -9223372036854775807 - 1 - 1 }}",
      "{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ (-9223372036854775807 - 1) % -1 }}",
      "{{ 9223372036854775807 * 2 }}",
      "{{ 99999999999999999999 }}",
      "{{ 2 ** 9223372036854775807 }}",
      "{{ 'abc'[99999:-99999:-9223372036854775807] }}",
      "{{ 'abc'[::0] }}",
      "{{ [1][9223372036854775807] }}",
      "{{ 'abc'[-9223372036854775807:9223372036854775807:9223372036854775807] }}",
      "{{ [1]|tojson(indent=9223372036854775807) }}",
      "{{ 'a\\nb'|indent(1000000000) }}",
      "{{ strftime_now('%' * 100) }}",
      "{{ strftime_now('%') }}",
      "{{ strftime_now('%Ey') }}",
      "{{ messages.append(1) }}",
      "{{ messages[0].update({}) }}",
      "{{ messages.__class__.__mro__ }}",
      "{{ ''.__class__ }}{{ ''.__class__.__base__ }}",
      "{{ self }}{{ self.x.y }}",
      "{{ cycler.__init__.__globals__.os }}",
      "{% for x in messages %}{% set messages = messages + messages %}{% endfor %}",
      "{{ " + repeated("(", 100'000) + "1" + repeated(")", 100'000) + " }}",
      "{{ " + repeated("[", 50'000) + " }}",
      "{{ " + repeated("not ", 50'000) + "1 }}",
      "{{ " + repeated("- ", 50'000) + "1 }}",
      "{{ 1" + repeated("+1", 100'000) + " }}",
      "{{ 1" + repeated(" if 1 else 1", 15'000) + " }}",
      "{{ 1" + repeated(" if 1", 15'000) + " }}",
      "{{ 1" + repeated("|string", 20'000) + " }}",
      "{{ x" + repeated(".a", 80'000) + " }}",
      "{{ x" + repeated("()", 80'000) + " }}",
      "{{ 1" + repeated(" is defined", 20'000) + " }}",
      "{{ 1" + repeated(" == 1", 40'000) + " }}",
      "{{ 'a' " + repeated("'a' ", 50'000) + "}}",
      repeated("{% if 1 %}", 20'000),
      repeated("{% for x in [1] %}", 10'000),
      repeated("{% macro a() %}", 15'000),
      repeated("{% raw %}", 20'000),
      repeated("{#", 100'000),
      repeated("{", 200'000),
      repeated("{%", 100'000),
      "{{ " + repeated("{", 50'000),
      "{{ '" + std::string(200'000, 'a'),
      "{{ \"\\x",
      "{{ '\\u12' }}",
      "{{ '\\ud800' }}",
      "{{",
      "{%",
      "{#",
      "{% raw %}",
      "{% set %}",
      "{% for %}",
      "{{ a b }}",
      "{{ 1 2 }}",
      "{{ ] }}",
      "{{ ( }}",
      "{{ )( }}",
      "{% endfor %}",
      "{% else %}",
      "{% if %}",
      "{% if 1 %}{% endfor %}",
      "{% break %}",
      "{{ 1..2 }}",
      "{{ 1.e5.2 }}",
      "{% for a.b in [] %}{% endfor %}",
      "{% filter x %}{% endfilter %}",
      "{% call x %}{% endcall %}",
      "{{ *x }}",
      "{{ f(*x) }}",
  };
  for (const std::string& source : sources) {
    SCOPED_TRACE(source.substr(0, 100));
    const auto begin = std::chrono::steady_clock::now();
    if (const auto chat = ChatTemplate::parse(source, {}, "harmful")) {
      const auto text = chat->render(std::vector<ChatMessage>{{"user", "hello"}}, true);
      EXPECT_LT(text ? text->size() : 0, 20'000'000U);
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(taken.count(), 5) << "far above what it takes, for busy machines";
  }
}

/// Cut anywhere, a template is an error or another template, and nothing worse.
TEST(ChatTemplate, TruncatedOnesComeToAnEnd) {
  for (const fs::path& path : templates()) {
    const std::string source = file_text(path);
    for (size_t length = 0; length < source.size(); length += 1 + source.size() / 400) {
      const auto chat = ChatTemplate::parse(source.substr(0, length), {}, "cut");
      if (chat) (void)chat->render(std::vector<ChatMessage>{{"user", "hello"}}, true);
    }
  }
}

TEST(ChatTemplate, LongConversationsAreRendered) {
  const auto chat = ChatTemplate::parse(*ChatTemplate::builtin("chatml"), {}, "chatml").value();
  std::vector<ChatMessage> many(20'000, {"user", "hello"});
  const auto text = chat.render(many, true);
  ASSERT_TRUE(text) << text.error().message();
  const auto long_text = chat.render(std::vector<ChatMessage>{{"user", std::string(8'000'000, 'a')}}, true);
  ASSERT_TRUE(long_text) << long_text.error().message();
  EXPECT_FALSE(chat.render(std::vector<ChatMessage>{{"user", "a\xff"}}, true));
}

}  // namespace
}  // namespace cria::text
