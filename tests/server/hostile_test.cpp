// Requests that mean harm, and clients that vanish: refused, bounded, and nothing stays behind.
#include <cstdlib>
#include <random>

#include "server/server_fixture.h"

namespace cria::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::string head(const std::string& more, const std::string& path = "/v1/completions") {
  return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + more + "\r\n";
}

std::string request(const std::string& body) {
  return head("Content-Length: " + std::to_string(body.size()) + "\r\n") + body;
}

void expect_status(const std::string& reply, const std::string& statuses) {
  ASSERT_GE(reply.size(), 12U) << "no answer";
  EXPECT_NE(statuses.find(reply.substr(9, 3)), std::string::npos) << reply.substr(0, 300);
}

TEST_F(ServerTest, FramingThatOthersMayReadOtherwiseIsRefused) {
  start();
  const std::string body = R"({"prompt":"a","max_tokens":1})";
  for (const std::string& more :
       {std::string("Content-Length: 29\r\nContent-Length: 29\r\n"),
        std::string("Content-Length: 29\r\nTransfer-Encoding: chunked\r\n"),
        std::string("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), std::string("Content-Length: -1\r\n"),
        std::string("Content-Length: +29\r\n"), std::string("Content-Length: 29, 29\r\n"),
        std::string("Content-Length: 0x1d\r\n"), std::string("Content-Length: 99999999999999999999999\r\n"),
        std::string("Transfer-Encoding: gzip\r\n"),
        std::string("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        std::string("Content-Length: 999999999\r\n"),
        std::string("Content-Encoding: gzip\r\nContent-Length: 29\r\n")}) {
    SCOPED_TRACE(more);
    RawClient client(server_->port());
    client.send(head(more) + body + "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const std::string reply = client.receive(seconds(10));
    expect_status(reply, "400 413 415");
    EXPECT_EQ(reply.find("HTTP/1.1", 5), std::string::npos) << "a second answer: what follows was taken for a request";
    EXPECT_TRUE(client.is_closed());
  }
}

TEST_F(ServerTest, ChunksThatLieAreRefused) {
  start();
  for (const char* chunk : {"-2\r\nab\r\n0\r\n\r\n", "ffffffffffffffff\r\nab\r\n0\r\n\r\n", "zz\r\nab\r\n0\r\n\r\n",
                            "fffffffffffffffffffffffff\r\n", "\r\n\r\n"}) {
    SCOPED_TRACE(chunk);
    RawClient client(server_->port());
    client.send(head("Transfer-Encoding: chunked\r\n") + chunk);
    const std::string reply = client.receive(seconds(20));
    if (!reply.empty()) expect_status(reply, "400 413");
    EXPECT_TRUE(client.is_closed());
  }
  const std::string body = R"({"prompt":"Once","max_tokens":1})";
  const std::string chunked = fmt::format("{:x}\r\n{}\r\n0\r\n\r\n", body.size(), body);
  RawClient good(server_->port());
  good.send(head("Transfer-Encoding: chunked\r\n") + chunked);
  expect_status(good.receive(seconds(20), "choices"), "200");
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(ServerTest, HeadersAndPathsWithoutEndAreRefused) {
  start();
  const std::string line = "X-A: " + std::string(100, 'a') + "\r\n";
  std::string many;
  for (int i = 0; i < 5000; ++i) many += line;
  for (const std::string& bytes :
       {"GET /" + std::string(1 << 20, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /health HTTP/1.1\r\n" + many + "\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(1 << 20, 'a') + "\r\n\r\n",
        std::string("GET /health%0d%0aX:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        std::string("GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n"),
        std::string("BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n"), std::string("GET\r\n\r\n"),
        std::string("\r\n\r\n\r\n"), std::string("\0\0\0\0\r\n\r\n", 8), std::string("GET /health HTTP/1.1\r\n\r\n"),
        std::string("GET /health HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n"),
        std::string("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        std::string("GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n"),
        std::string("GET /health HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n")}) {
    SCOPED_TRACE(bytes.substr(0, 80));
    RawClient client(server_->port());
    client.send(bytes);
    const std::string reply = client.receive(seconds(15));
    if (!reply.empty()) expect_status(reply, "400 403 404 405 413 414 431");
    EXPECT_TRUE(client.is_closed());
  }
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(ServerTest, JsonThatMeansHarmIsRefused) {
  start();
  std::string keys = "{";
  for (int i = 0; i < 100'000; ++i) keys += fmt::format("\"k{}\":1,", i);
  keys += "\"z\":1}";
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("{\"prompt\":\"a\"}x"),
        std::string(1'000'000, '['), "{\"prompt\":" + std::string(1'000'000, '[') + "}", keys,
        std::string(R"({"prompt":"a","temperature":NaN})"), std::string(R"({"prompt":"a","temperature":1e999})"),
        std::string(R"({"prompt":"a","max_tokens":1e400})"), std::string(R"({"prompt":"\ud800"})"),
        std::string(R"({"prompt":"\udc00\ud800"})"), std::string("{\"prompt\":\"a\xff\"}"),
        std::string("{\"prompt\":\"a\",\"prompt\":\"b\"}"), std::string("{\"prompt\":\"\0\"}", 13),
        "{\"prompt\":\"" + std::string(8'000'000, 'a') + "\"}"}) {
    SCOPED_TRACE(body.substr(0, 80));
    const Reply reply = post("/v1/completions", body);
    EXPECT_EQ(reply.status, 400) << reply.text.substr(0, 300);
    EXPECT_LT(reply.text.size(), 1000U);
  }
  EXPECT_EQ(post("/v1/completions", "{\"prompt\":\"" + std::string(9'000'000, 'a') + "\"}").status, 413);
}

TEST_F(ServerTest, TheKeyMustBeTheKey) {
  start({.api_key = "secret-key"});
  const auto ask = [&](const std::string& value) {
    httplib::Headers headers;
    if (!value.empty()) headers.emplace("Authorization", value);
    return reply_of(client().Get("/v1/models", headers));
  };
  EXPECT_EQ(ask("Bearer secret-key").status, 200);
  for (const char* value : {"", "Bearer secret-ke", "Bearer secret-key2", "Bearer Secret-key", "Basic secret-key",
                            "secret-key", "bearer", "Bearer  secret-key"}) {
    const Reply reply = ask(value);
    expect_refused(reply, 401, "no valid API key");
    EXPECT_EQ(reply.text.find("secret"), std::string::npos);
  }
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_EQ(get("/metrics").status, 401);
}

TEST_F(ServerTest, OnlyListedOriginsAndHostsAreServed) {
  start({.allowed_hosts = {"Model.Example"}, .allowed_origins = {"http://page.example"}});
  const auto status = [&](const httplib::Headers& headers) {
    return reply_of(client().Get("/health", headers)).status;
  };
  EXPECT_EQ(status({{"Host", "model.example:80"}}), 200);
  EXPECT_EQ(status({{"Host", "127.0.0.1"}}), 200);
  EXPECT_EQ(status({{"Host", "[::1]:8080"}}), 200);
  EXPECT_EQ(status({{"Host", "other.example"}}), 403);
  EXPECT_EQ(status({{"Host", "1.2.3.4.example"}}), 403);
  EXPECT_EQ(status({{"Host", "127.0.0.1.evil"}}), 403);
  EXPECT_EQ(status({{"Origin", "http://page.example"}}), 200);
  EXPECT_EQ(status({{"Origin", "http://page.example.evil"}}), 403);
  const auto preflight = client().Options("/v1/completions", {{"Origin", "http://page.example"}});
  ASSERT_TRUE(preflight);
  EXPECT_EQ(preflight->status, 204);
  EXPECT_EQ(preflight->get_header_value("Access-Control-Allow-Origin"), "http://page.example");
  EXPECT_FALSE(client().Get("/health")->has_header("Access-Control-Allow-Origin"));
}

TEST_F(ServerTest, AddressesThatOthersReachNeedAKey) {
  for (const char* host : {"0.0.0.0", "::", "192.168.1.1", "example.com", "127.evil"}) {
    EXPECT_FALSE(check_address({.host = host})) << host;
    EXPECT_TRUE(check_address({.host = host, .api_key = "k"})) << host;
  }
  for (const char* host : {"127.0.0.1", "127.1.2.3", "::1", "localhost"})
    EXPECT_TRUE(check_address({.host = host})) << host;
  EXPECT_FALSE(check_address({.api_key = "a b"}));
}

TEST_F(ServerTest, ARequestThatDripsInIsEnded) {
  start({.request_seconds = 2});
  for (const std::string& begun :
       {std::string("POST /v1/completions HTTP/1.1\r\n"), head("Content-Length: 1000\r\n") + "{",
        head("Transfer-Encoding: chunked\r\n") + "3e8\r\n{"}) {
    SCOPED_TRACE(begun);
    RawClient client(server_->port());
    const auto begin = Clock::now();
    ASSERT_TRUE(client.send(begun));
    while (!client.is_closed() && Clock::now() < begin + seconds(20)) {
      client.send("a");
      client.receive(milliseconds(300));
    }
    EXPECT_TRUE(client.is_closed());
    EXPECT_LT(Clock::now() - begin, seconds(8));
  }
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(ServerTest, HeadersThatNeverEndAreCutOff) {
  start();
  RawClient client(server_->port());
  ASSERT_TRUE(client.send("GET /health HTTP/1.1\r\n"));
  const std::string line = "X-A: " + std::string(1000, 'a') + "\r\n";
  int sent = 0;
  while (sent < 100'000 && client.send(line)) ++sent;
  EXPECT_LT(sent, 100'000) << "100 MB of headers were taken";
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(ServerTest, BodiesAreBoundedWhateverTheyClaim) {
  start({.max_body_bytes = 10'000});
  const std::string body = "{\"prompt\":\"" + std::string(20'000, 'a') + "\"}";
  for (const std::string& bytes :
       {head("Content-Length: 20013\r\n") + body,
        head("Transfer-Encoding: chunked\r\n") + fmt::format("{:x}\r\n{}\r\n0\r\n\r\n", body.size(), body),
        head("Transfer-Encoding: chunked\r\n") + "7fffffff\r\n" + body, head("") + body}) {
    SCOPED_TRACE(bytes.substr(0, 160));
    RawClient client(server_->port());
    client.send(bytes);
    const std::string reply = client.receive(seconds(15));
    if (!reply.empty()) expect_status(reply, "400 411 413");
    EXPECT_TRUE(client.is_closed());
  }
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(ServerTest, SchemasAndPatternsThatMeanHarmAreRefused) {
  start();
  const auto ask = [&](const Json& format) {
    return post("/v1/chat/completions",
                Json{{"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})}, {"response_format", format}});
  };
  const auto schema = [](const Json& content) {
    return Json{{"type", "json_schema"}, {"json_schema", {{"name", "a"}, {"schema", content}}}};
  };
  std::string groups(60'000, '(');
  groups += std::string(60'000, ')');
  Json alternatives = Json::array();
  for (int i = 0; i < 100'000; ++i) alternatives.push_back(i);
  for (const Json& format : {schema({{"$ref", "#"}}), schema({{"type", "string"}, {"pattern", groups}}),
                             schema({{"enum", alternatives}}), Json{{"type", "grammar"}, {"grammar", groups}}}) {
    const Reply reply = ask(format);
    EXPECT_EQ(reply.status, 400) << reply.text.substr(0, 300);
    EXPECT_LT(reply.text.size(), 1000U);
  }
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(ServerTest, ConnectionsThatNeverSpeakDoNotLockOthersOut) {
  start({.max_connections = 8});
  std::vector<std::unique_ptr<RawClient>> silent;
  const char* const full = std::getenv("CRIA_TEST_FULL");
  const int count = full != nullptr && std::string_view(full) == "1" ? 10'000 : 100;
  for (int i = 0; i < count; ++i) silent.push_back(std::make_unique<RawClient>(server_->port()));
  const auto deadline = Clock::now() + seconds(40);
  int status = -1;
  while (status != 200 && Clock::now() < deadline) status = get("/health").status;
  EXPECT_EQ(status, 200);
}

TEST_F(ServerTest, ClientsThatVanishFreeTheirSlots) {
  start({}, 2);
  std::mt19937 random(7);
  const std::string streaming =
      request(R"({"prompt":"Once upon a time","max_tokens":200,"stream":true,"temperature":0})");
  const std::string whole = request(R"({"prompt":"Once upon a time","max_tokens":200,"temperature":0,"n":2})");
  for (int i = 0; i < 24; ++i) {
    const std::string& bytes = i % 2 == 0 ? streaming : whole;
    RawClient client(server_->port());
    const bool is_cut = i % 3 == 0;  // some vanish before they have said what they want
    client.send(is_cut ? bytes.substr(0, random() % bytes.size()) : bytes);
    client.receive(milliseconds(random() % 150));
  }
  expect_idle_soon();
  EXPECT_EQ(post("/v1/completions", Json{{"prompt", "Once"}, {"max_tokens", 2}}).status, 200);
  expect_idle_soon();
}

TEST_F(ServerTest, StoppingAgainChangesNothing) {
  start();
  server_->stop(seconds(0));
  listener_.join();
  server_->stop(seconds(0));  // waited for ever for a server that had ended
  listener_ = std::thread([] {});
}

TEST_F(ServerTest, StoppingFinishesAnswersThatHaveBegun) {
  start();
  RawClient client(server_->port());
  client.send(request(
      R"({"prompt":"Once upon a time","max_tokens":150,"stream":true,"temperature":0,"repetition_penalty":1})"));
  std::string text = client.receive(seconds(30), "data: ");
  ASSERT_NE(text.find("200 OK"), std::string::npos) << text;
  std::thread stopper([this] { server_->stop(seconds(60)); });
  const auto deadline = Clock::now() + seconds(20);
  while (get("/ready").status == 200 && Clock::now() < deadline) std::this_thread::yield();
  const Reply late = post("/v1/completions", Json{{"prompt", "Once"}});
  if (late.status != -1) expect_refused(late, 503, "shutting down");
  text += client.receive(seconds(60), "[DONE]");
  EXPECT_NE(text.find("data: [DONE]"), std::string::npos) << text;
  stopper.join();
}

}  // namespace
}  // namespace cria::server
