// The page for browsers: its routes, encodings, caching and headers; the text in its place; neither where it is off.
#include "server/web.h"

#include "engine/defaults.h"
#include "server/server_fixture.h"

namespace cria::server {
namespace {

constexpr unsigned char kPlain[] = {'<', 'p', '>', 'H', 'i'};
constexpr unsigned char kGzip[] = {0x1f, 0x8b, 8, 0};
constexpr unsigned char kScript[] = {'0', ';'};
constexpr WebFile kFiles[] = {{"/", "text/html; charset=utf-8", "aa11", kPlain, kGzip},
                              {"/web/page.js", "text/javascript; charset=utf-8", "bb22", kScript, kGzip}};

std::string text_of(std::span<const unsigned char> bytes) { return {bytes.begin(), bytes.end()}; }

class WebTest : public ServerTest {
 protected:
  void start_with(std::optional<std::span<const WebFile>> web, const std::string& key = "") {
    ServerOptions options;
    options.web = web;
    options.api_key = key;
    start(options);
  }
  [[nodiscard]] Reply get(const std::string& path, const httplib::Headers& headers = {}) const {
    return reply_of(client().Get(path, headers));
  }
  static std::string header(const Reply& reply, const std::string& name) {
    const auto found = reply.headers.find(name);
    return found == reply.headers.end() ? "" : found->second;
  }
};

TEST_F(WebTest, FilesComeWithTheirTypesInTheEncodingThatTheClientTakes) {
  start_with(kFiles);
  const struct {
    const char* accepted;  // Accept-Encoding, or nullptr
    bool is_gzip;
  } cases[] = {{nullptr, false},       {"", false},         {"gzip", true},         {"deflate, GZIP;q=0.5, br", true},
               {"x-gzip", true},       {"gzip;q=0", false}, {"gzip; q=0.0", false}, {"br", false},
               {"identity", false},    {"gzip;q=x", false}, {"gzipped", false},     {"br;q=1,gzip ; q=1", true},
               {"gzip;level=1", false}};
  for (const auto& [accepted, is_gzip] : cases) {
    SCOPED_TRACE(accepted == nullptr ? "none" : accepted);
    // As bytes: the client of the tests would ask for what it can decode, and decode it.
    const std::string answer =
        raw("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" +
            (accepted == nullptr ? "" : "Accept-Encoding: " + std::string(accepted) + "\r\n") + "\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 ")) << answer;
    EXPECT_TRUE(answer.ends_with("\r\n\r\n" + (is_gzip ? text_of(kGzip) : text_of(kPlain)))) << answer;
    EXPECT_EQ(answer.find("Content-Encoding: gzip") != std::string::npos, is_gzip);
    EXPECT_NE(answer.find("Content-Type: text/html; charset=utf-8"), std::string::npos);
    EXPECT_NE(answer.find("Vary: Accept-Encoding"), std::string::npos);
  }
  const Reply script = get("/web/page.js");
  EXPECT_EQ(script.text, "0;");
  EXPECT_EQ(header(script, "Content-Type"), "text/javascript; charset=utf-8");
}

TEST_F(WebTest, HeadersKeepThePageToItsServer) {
  start_with(kFiles);
  for (const char* path : {"/", "/web/page.js"}) {
    const Reply reply = get(path);
    const std::string policy = header(reply, "Content-Security-Policy");
    EXPECT_TRUE(policy.starts_with("default-src 'none'; ")) << policy;
    for (const char* part : {"script-src 'self';", "style-src 'self';", "connect-src 'self';", "base-uri 'none';",
                             "form-action 'none';", "frame-ancestors 'none'"}) {
      EXPECT_NE(policy.find(part), std::string::npos) << part;
    }
    EXPECT_EQ(policy.find("unsafe"), std::string::npos);
    EXPECT_EQ(header(reply, "X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(header(reply, "Referrer-Policy"), "no-referrer");
    EXPECT_EQ(header(reply, "X-Frame-Options"), "DENY");
  }
}

TEST_F(WebTest, WhatABrowserHasIsNotSentAgain) {
  start_with(kFiles);
  const Reply first = get("/", {{"Accept-Encoding", "identity"}});
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(header(first, "Cache-Control"), "no-cache");
  const std::string tag = header(first, "ETag");
  EXPECT_EQ(tag, "\"aa11\"");
  for (const std::string& known : {tag, "W/" + tag, "\"other\", " + tag, std::string("*")}) {
    const Reply again = get("/", {{"Accept-Encoding", "identity"}, {"If-None-Match", known}});
    EXPECT_EQ(again.status, 304) << known;
    EXPECT_EQ(again.text, "");
    EXPECT_EQ(header(again, "ETag"), tag);
  }
  // Another file, or the same in another encoding, is another text.
  EXPECT_EQ(get("/web/page.js", {{"If-None-Match", tag}}).status, 200);
  EXPECT_NE(header(get("/", {{"Accept-Encoding", "gzip"}, {"If-None-Match", tag}}), "ETag"), tag);
}

TEST_F(WebTest, OnlyThePageNeedsNoKeyAndOnlyReadingIsTaken) {
  start_with(kFiles, "secret");
  EXPECT_EQ(get("/").status, 200);
  EXPECT_EQ(get("/web/page.js").status, 200);
  expect_refused(get("/v1/models"), 401, "API key");
  expect_refused(get("/web/other.js"), 401, "API key");
  expect_refused(get("/web/page.js", {{"Host", "evil.example"}}), 403, "evil.example");
  expect_refused(post("/", Json::object()), 405, "method");
  const auto head = client().Head("/");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->body, "");
}

TEST_F(WebTest, WithoutNpmATextTellsHowToHaveThePage) {
  start_with(std::span<const WebFile>());
  const Reply reply = get("/");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(header(reply, "Content-Type"), "text/plain; charset=utf-8");
  EXPECT_NE(reply.text.find("install Node.js"), std::string::npos) << reply.text;
  expect_refused(get("/web/page.js"), 404, "nothing at this path");
}

TEST_F(WebTest, WhereItIsOffThereIsNothing) {
  start_with(std::nullopt);
  expect_refused(get("/"), 404, "nothing at this path");
  expect_refused(get("/web/page.js"), 404, "nothing at this path");
}

/// What the page reads of /v1/models and /metrics.
TEST_F(WebTest, TheServerTellsItsDefaultsAndItsMemory) {
  ServerOptions options;
  options.max_tokens = 77;
  start(options);
  const Json model = get("/v1/models/stories").json;
  EXPECT_EQ(model.at("has_chat_template"), true);
  EXPECT_EQ(model.at("max_context"), 256);
  EXPECT_EQ(model.at("max_tokens"), 77);
  const auto defaults = engine::resolve_sampling({}, engine_->defaults());
  EXPECT_EQ(model.at("sampling").at("temperature").get<float>(), defaults.temperature);
  EXPECT_EQ(model.at("sampling").at("top_k"), defaults.top_k);
  const std::string metrics = get("/metrics").text;
  const auto weights = fmt::format("\ncria_weight_bytes {}\n", engine_->memory().weight_bytes);
  EXPECT_NE(metrics.find(weights), std::string::npos) << metrics;
  EXPECT_GT(engine_->memory().weight_bytes, 0U);
}

/// Where the page was built it is whole: what its text refers to is there, and nothing of other sites.
TEST(Web, TheEmbeddedPageRefersToItsOwnFilesOnly) {
  const std::span<const WebFile> files = embedded_web();
  if (files.empty()) GTEST_SKIP() << "built without npm";
  const WebFile* page = find_web(files, "/");
  ASSERT_NE(page, nullptr);
  const std::string html = text_of(page->plain);
  size_t references = 0;
  for (const std::string_view attribute : {"src=\"", "href=\""}) {
    for (size_t at = html.find(attribute); at != std::string::npos; at = html.find(attribute, at + 1)) {
      const size_t begin = at + attribute.size();
      const std::string path = "/" + html.substr(begin, html.find('"', begin) - begin);
      EXPECT_NE(find_web(files, path), nullptr) << path;
      ++references;
    }
  }
  EXPECT_GE(references, 3U);
  EXPECT_EQ(html.find("<style"), std::string::npos);
  EXPECT_EQ(html.find(" style="), std::string::npos);
  size_t bytes = 0;
  for (const WebFile& file : files) {
    ASSERT_GE(file.gzip.size(), 18U) << file.path;
    EXPECT_EQ(file.gzip[0], 0x1f);
    EXPECT_EQ(file.gzip[1], 0x8b);
    bytes += file.gzip.size();
  }
  EXPECT_LE(bytes, 300'000U);
}

}  // namespace
}  // namespace cria::server
