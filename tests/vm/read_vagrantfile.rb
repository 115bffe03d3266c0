# Reads the Vagrantfile without Vagrant, and prints as JSON what it asked for: [name, arguments, options] a call.
require "json"
require "rubygems"

CALLS = []

class Recorder
  def method_missing(name, *arguments, **options, &block)
    CALLS << [name, arguments, options]
    block&.call(Recorder.new)
    self
  end

  def respond_to_missing?(*)
    true
  end
end

module Vagrant
  def self.require_version(*requirements)
    debian12 = Gem::Requirement.new(*requirements).satisfied_by?(Gem::Version.new("2.3.4"))
    CALLS << ["lets_2_3_4_pass", [debian12], {}]
  end

  def self.configure(_version)
    yield Recorder.new
  end
end

load ARGV.fetch(0)
puts JSON.generate(CALLS)
