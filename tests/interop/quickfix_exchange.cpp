// QuickFIX/C++ as the server of a benchmark: a FIX.4.4 acceptor that answers each NewOrderSingle(D) with one
// ExecutionReport(8), and does nothing else. Started by scripts/compare.
//
//   quickfix_exchange PORT memory|file STORE_DIR SENDER TARGET
//
// No log, no dictionary, TCP_NODELAY: the fastest that its settings allow with a store of either kind.

#include <quickfix/Application.h>
#include <quickfix/FileStore.h>
#include <quickfix/FixFields.h>
#include <quickfix/Log.h>
#include <quickfix/MessageStore.h>
#include <quickfix/Session.h>
#include <quickfix/ThreadedSocketAcceptor.h>

#include <csignal>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <unistd.h>

namespace {

class NoLog : public FIX::Log {
public:
  void clear() override {}
  void backup() override {}
  void onIncoming( const std::string& ) override {}
  void onOutgoing( const std::string& ) override {}
  void onEvent( const std::string& ) override {}
};

class NoLogFactory : public FIX::LogFactory {
public:
  FIX::Log* create() override { return new NoLog; }
  FIX::Log* create( const FIX::SessionID& ) override { return new NoLog; }
  void destroy( FIX::Log* log ) override { delete log; }
};

class Exchange : public FIX::Application {
public:
  void onCreate( const FIX::SessionID& ) override {}
  void onLogon( const FIX::SessionID& ) override {}
  void onLogout( const FIX::SessionID& ) override {}
  void toAdmin( FIX::Message&, const FIX::SessionID& ) override {}
  void fromAdmin( const FIX::Message&, const FIX::SessionID& )
    throw( FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::RejectLogon ) override {}
  void toApp( FIX::Message&, const FIX::SessionID& ) throw( FIX::DoNotSend ) override {}

  // The fields of fixring's own exchange's first report.
  void fromApp( const FIX::Message& order, const FIX::SessionID& id )
    throw( FIX::FieldNotFound, FIX::IncorrectDataFormat, FIX::IncorrectTagValue, FIX::UnsupportedMessageType ) override {
    FIX::ClOrdID clOrdId;
    FIX::Symbol symbol;
    FIX::Side side;
    FIX::OrderQty quantity;
    FIX::OrdType ordType;
    FIX::Price price;
    order.getField( clOrdId );
    order.getField( symbol );
    order.getField( side );
    order.getField( quantity );
    order.getField( ordType );
    order.getField( price );
    const std::string number = std::to_string( ++m_answers );
    FIX::Message report;
    report.getHeader().setField( FIX::MsgType( "8" ) );
    report.setField( FIX::OrderID( "O1-" + number ) );
    report.setField( FIX::ExecID( "E1-" + number ) );
    report.setField( FIX::ExecType( FIX::ExecType_NEW ) );
    report.setField( FIX::OrdStatus( FIX::OrdStatus_NEW ) );
    report.setField( clOrdId );
    report.setField( symbol );
    report.setField( side );
    report.setField( quantity );
    report.setField( ordType );
    report.setField( price );
    report.setField( FIX::LeavesQty( quantity ) );
    report.setField( FIX::CumQty( 0 ) );
    report.setField( FIX::AvgPx( 0 ) );
    report.setField( FIX::TransactTime() );
    FIX::Session::sendToTarget( report, id );
  }

private:
  long m_answers = 0;
};

}

int main( int count, char** arguments ) {
  if( count != 6 ) {
    std::cerr << "usage: quickfix_exchange PORT memory|file STORE_DIR SENDER TARGET\n";
    return 2;
  }
  const std::string port = arguments[1], store = arguments[2], storeDir = arguments[3];
  try {
    std::stringstream text;
    text << "[DEFAULT]\nConnectionType=acceptor\nStartTime=00:00:00\nEndTime=00:00:00\nUseDataDictionary=N\n"
         << "SocketNodelay=Y\nFileStorePath=" << storeDir << "\n[SESSION]\nBeginString=FIX.4.4\n"
         << "SenderCompID=" << arguments[4] << "\nTargetCompID=" << arguments[5] << "\nSocketAcceptPort=" << port << "\n";
    FIX::SessionSettings settings( text );
    std::unique_ptr<FIX::MessageStoreFactory> stores;
    if( store == "file" ) stores.reset( new FIX::FileStoreFactory( settings ) );
    else stores.reset( new FIX::MemoryStoreFactory );
    Exchange exchange;
    NoLogFactory logs;
    FIX::ThreadedSocketAcceptor acceptor( exchange, *stores, settings, logs );
    acceptor.start();
    for( ;; ) pause();
  }
  catch( const std::exception& error ) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
