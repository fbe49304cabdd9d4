// The pipes watched by a Poller. It can watch again in two ways: remove + add, and a modify to none
// and back, for which a level-triggered registration needs no system call.
#include "duolu/poll/backends.hpp"
#include "watching.hpp"

namespace pipes {
namespace {

using namespace duolu;

class ByPoller final : public Watching {
 public:
  ByPoller(Pipes& pipes, const Backend& backend, Trigger trigger, bool pauses)
      : pipes_(pipes),
        poller_(backend.make(real_kernel(), {}).value()),
        trigger_(trigger),
        pauses_(pauses) {
    for (std::size_t i = 0; i < pipes.count(); ++i) tokens_.push_back(add(i));
  }

  void rewatch() override {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (pauses_) {
        (void)poller_->modify(tokens_[i], Interest::none);
        (void)poller_->modify(tokens_[i], Interest::readable);
      } else {
        (void)poller_->remove(tokens_[i]);
        tokens_[i] = add(i);
      }
    }
  }

  void look() override {
    const auto batch = poller_->wait(immediately).value();
    for (const Event& event : batch) {
      if (trigger_ == Trigger::level) {
        pipes_.take_one(event.data);
      } else {
        pipes_.take_all(event.data);
        poller_->drained(event.token, Interest::readable);
      }
    }
  }

 private:
  Token add(std::size_t index) {
    return poller_->add(pipes_.reader(index), Interest::readable, trigger_, index).value();
  }

  Pipes& pipes_;
  std::unique_ptr<Poller> poller_;
  const Trigger trigger_;
  const bool pauses_;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Way> poller_ways() {
  std::vector<Way> ways;
  for (const Backend& backend : backends())
    for (const Trigger trigger : {Trigger::level, Trigger::edge})
      for (const bool pauses : {false, true})
        ways.push_back({std::string(backend.name) + "/" + to_string(trigger) +
                            (pauses ? "/pause+resume" : "/remove+add"),
                        [&backend, trigger, pauses](Pipes& pipes) -> std::unique_ptr<Watching> {
                          return std::make_unique<ByPoller>(pipes, backend, trigger, pauses);
                        }});
  return ways;
}

}  // namespace pipes
